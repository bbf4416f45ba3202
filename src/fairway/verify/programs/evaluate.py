"""Constant expressions of a self-extracting program to their values; nothing but decoders and text is known here.

It is a reader of shapes, no interpreter: straight assignments, decoders by name (however imported), slices, joins,
files of the folder. What it does not know ends in ``CannotEvaluate``.
"""

import ast
import lzma
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.verify.programs.codecs import DECODERS, ERRORS, LIMIT_BYTES, decode, unlzma, unzstd

MOST_STEPS = 20_000
MOST_BYTES = 40_000_000
MOST_CALLS_DEEP = 8


class CannotEvaluate(ValueError):
    """The expression is no constant that can be had by decoding."""


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted name of a library: ``lzma``, ``base64.b85decode``."""

    path: str


@dataclass(frozen=True, slots=True)
class PathText:
    """A path, relative to the folder."""

    text: str


@dataclass(frozen=True, slots=True)
class Opened:
    """An open file of the folder."""

    path: str
    binary: bool


@dataclass(frozen=True, slots=True)
class Code:
    """Source text that was compiled."""

    source: Any


_CONSTANTS: Mapping[str, Any] = {
    "lzma.FORMAT_AUTO": lzma.FORMAT_AUTO,
    "lzma.FORMAT_XZ": lzma.FORMAT_XZ,
    "lzma.FORMAT_ALONE": lzma.FORMAT_ALONE,
    "lzma.FORMAT_RAW": lzma.FORMAT_RAW,
    "lzma.FILTER_LZMA1": lzma.FILTER_LZMA1,
    "lzma.FILTER_LZMA2": lzma.FILTER_LZMA2,
    "lzma.FILTER_DELTA": lzma.FILTER_DELTA,
    "lzma.FILTER_X86": lzma.FILTER_X86,
    "zlib.MAX_WBITS": 15,
    "os.sep": "/",
}
_SAME = frozenset(
    "os.path.abspath os.path.realpath os.fspath os.path.normpath io.BytesIO io.StringIO memoryview".split()
)


class Evaluator:
    """Names of one program to their values, as far as those are constants.

    ``read`` gives the bytes of a file of the folder by its path, or raises ``CannotEvaluate``; ``file`` is the path of
    the program.
    """

    def __init__(self, file: str, read: Callable[[str], bytes]) -> None:
        self.file, self._read = file, read
        self.names: dict[str, Any] = {"__file__": file, "__name__": "__main__"}
        self._functions: dict[str, ast.FunctionDef] = {}
        self._steps = self._bytes = self._calls = 0
        self.used: list[str] = []
        """Decoders that were applied, in order."""
        self.files: list[str] = []
        """Files that were read."""

    def learn(self, statements: list[ast.stmt]) -> None:
        """Take in imports, assignments and functions, in their order; what is no constant is forgotten."""
        for statement in statements:
            try:
                self._learn(statement)
            except CannotEvaluate:
                for target in getattr(statement, "targets", [getattr(statement, "target", None)]):
                    if isinstance(target, ast.Name):
                        self.names.pop(target.id, None)

    def _learn(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import):
            for one in statement.names:
                self.names[one.asname or one.name.split(".")[0]] = Name(
                    one.name if one.asname else one.name.split(".")[0]
                )
        elif isinstance(statement, ast.ImportFrom):
            for one in statement.names:
                self.names[one.asname or one.name] = Name(f"{statement.module or ''}.{one.name}")
        elif isinstance(statement, ast.FunctionDef):
            self._functions[statement.name] = statement
            self.names.pop(statement.name, None)
        elif isinstance(statement, ast.Assign):
            value = self.value(statement.value)
            for target in statement.targets:
                self._bind(target, value)
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            self._bind(statement.target, self.value(statement.value))
        elif isinstance(statement, ast.AugAssign) and isinstance(statement.target, ast.Name):
            if not isinstance(statement.op, ast.Add):
                raise CannotEvaluate("changed in place")
            left = self.value(ast.copy_location(ast.Name(id=statement.target.id, ctx=ast.Load()), statement))
            self.names[statement.target.id] = self._add(left, self.value(statement.value))
        elif isinstance(statement, ast.With):
            for item in statement.items:
                if item.optional_vars is not None:
                    self._bind(item.optional_vars, self.value(item.context_expr))
            self.learn(statement.body)
        elif isinstance(statement, ast.Try):
            self.learn(statement.body)
        elif isinstance(statement, ast.If) and "__name__" in ast.dump(statement.test)[:400]:
            self.learn(statement.body)

    def _bind(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List) and isinstance(value, tuple) and len(value) == len(target.elts):
            for one, part in zip(target.elts, value, strict=True):
                self._bind(one, part)

    # ------------------------------------------------------------------ expressions

    def value(self, node: ast.expr) -> Any:
        """The value of an expression; ``CannotEvaluate`` where it has none that is known."""
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise CannotEvaluate("too many steps")
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise CannotEvaluate(type(node).__name__)
        return self._counted(method(node))

    def _counted(self, value: Any) -> Any:
        if isinstance(value, str | bytes):
            self._bytes += len(value)
            if len(value) > 2 * LIMIT_BYTES or self._bytes > MOST_BYTES:
                raise CannotEvaluate("more bytes than a program may hold")
        return value

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id in self.names:
            return self.names[node.id]
        return Name(node.id)

    def _attribute(self, node: ast.Attribute) -> Any:
        base = self.value(node.value)
        if isinstance(base, Name):
            path = f"{base.path}.{node.attr}"
            return _CONSTANTS.get(path, Name(path))
        if isinstance(base, PathText) and node.attr == "parent":
            return PathText(posixpath.dirname(base.text))
        if isinstance(base, PathText) and node.attr in ("name", "stem"):
            return posixpath.basename(base.text)
        raise CannotEvaluate(node.attr)

    def _tuple(self, node: ast.Tuple | ast.List) -> Any:
        return tuple(self.value(part) for part in node.elts)

    _list = _tuple

    def _dict(self, node: ast.Dict) -> Any:
        if any(key is None for key in node.keys):
            raise CannotEvaluate("unpacked dictionary")
        keys = [self.value(key) for key in node.keys if key is not None]
        if not all(isinstance(key, str | int | bytes) for key in keys):
            raise CannotEvaluate("keys")
        return dict(zip(keys, (self.value(value) for value in node.values), strict=True))

    def _joinedstr(self, node: ast.JoinedStr) -> Any:
        parts = [self.value(part.value if isinstance(part, ast.FormattedValue) else part) for part in node.values]
        if not all(isinstance(part, str) for part in parts):
            raise CannotEvaluate("f-string")
        return "".join(parts)

    def _namedexpr(self, node: ast.NamedExpr) -> Any:
        value = self.value(node.value)
        self._bind(node.target, value)
        return value

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.USub) and isinstance(value, int):
            return -value
        raise CannotEvaluate("operator")

    def _binop(self, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Add):
            return self._add(left, right)
        if isinstance(node.op, ast.Div) and isinstance(left, PathText) and isinstance(right, str):
            return PathText(posixpath.join(left.text, right))
        if isinstance(node.op, ast.BitOr | ast.Sub) and isinstance(left, int) and isinstance(right, int):
            return left | right if isinstance(node.op, ast.BitOr) else left - right
        raise CannotEvaluate("operator")

    def _add(self, left: Any, right: Any) -> Any:
        for kind in (str, bytes, int, tuple):
            if isinstance(left, kind) and isinstance(right, kind):
                return left + right  # type: ignore[operator]
        raise CannotEvaluate("sum")

    def _subscript(self, node: ast.Subscript) -> Any:
        base = self.value(node.value)
        if not isinstance(base, str | bytes | tuple | dict):
            raise CannotEvaluate("index")
        if isinstance(node.slice, ast.Slice):
            parts = [
                None if p is None else self.value(p) for p in (node.slice.lower, node.slice.upper, node.slice.step)
            ]
            if isinstance(base, dict) or not all(p is None or isinstance(p, int) for p in parts) or parts[2] == 0:
                raise CannotEvaluate("slice")
            return base[slice(*parts)]
        try:
            return base[self.value(node.slice)]
        except (KeyError, IndexError, TypeError) as error:
            raise CannotEvaluate("index") from error

    # ------------------------------------------------------------------ calls

    def _call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id in self._functions and node.func.id not in self.names:
            return self._own(self._functions[node.func.id], node)
        if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
            raise CannotEvaluate("unpacked arguments")
        args = [self.value(arg) for arg in node.args]
        named = {keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg is not None}
        try:
            if isinstance(node.func, ast.Attribute):
                base = self.value(node.func.value)
                if not isinstance(base, Name):
                    return self._method(base, node.func.attr, args, named)
            function = self.value(node.func)
            if isinstance(function, Name):
                return self._library(function.path, args, named)
        except CannotEvaluate:
            raise
        except tuple(ERRORS) as error:
            raise CannotEvaluate(f"{type(error).__name__}: {str(error)[:80]}") from error
        raise CannotEvaluate("call")

    def _own(self, function: ast.FunctionDef, node: ast.Call) -> Any:
        """A function of the program: straight assignments and a return."""
        names = [argument.arg for argument in function.args.args]
        if self._calls >= MOST_CALLS_DEEP or len(node.args) > len(names):
            raise CannotEvaluate("call")
        given = dict(zip(names, (self.value(arg) for arg in node.args), strict=False))
        given |= {k.arg: self.value(k.value) for k in node.keywords if k.arg is not None}
        outer = self.names
        self.names = outer | given
        self._calls += 1
        try:
            self.learn(function.body)
            for statement in function.body:
                for inner in [statement, *getattr(statement, "body", [])]:
                    if isinstance(inner, ast.Return) and inner.value is not None:
                        return self.value(inner.value)
        finally:
            self.names = outer
            self._calls -= 1
        raise CannotEvaluate("function without a plain return")

    def _library(self, path: str, args: list[Any], named: dict[str, Any]) -> Any:
        if path in DECODERS:
            found = DECODERS[path](*args, **named)
            self.used.append(path.rsplit(".", 2)[-1] if not path.endswith(".decompress") else path.split(".")[-2])
            return found
        if path in ("__import__", "importlib.import_module") and isinstance(args[0], str):
            return Name(args[0])
        if path == "getattr" and isinstance(args[0], Name) and isinstance(args[1], str):
            return Name(f"{args[0].path}.{args[1]}")
        if path == "compile":
            return Code(args[0])
        if path in ("open", "io.open", "builtins.open"):
            mode = args[1] if len(args) > 1 else named.get("mode", "r")
            return Opened(self._path(args[0]), isinstance(mode, str) and "b" in mode)
        if path in ("pathlib.Path", "pathlib.PurePath", "pathlib.PosixPath"):
            return PathText(posixpath.join(*[self._path(arg) for arg in args]) if args else "")
        if path == "os.path.join":
            return posixpath.join(*[self._path(arg) for arg in args])
        if path == "os.path.dirname":
            return posixpath.dirname(self._path(args[0]))
        if path == "dict":
            return dict(named)
        if path in ("bytes", "bytearray", "list", "tuple", "str") and len(args) == 1 and not named:
            return self._converted(path, args[0])
        if path in ("bytes", "str") and len(args) == 2:
            return args[0].encode() if path == "bytes" else decode(args[0], args[1])
        if path in ("zstandard.ZstdDecompressor", "zstd.ZstdDecompressor", "lzma.LZMADecompressor"):
            return Name(f"{path}()")
        if path in ("zstandard.ZstdDecompressor().decompress", "zstd.ZstdDecompressor().decompress"):
            self.used.append("zstd")
            return unzstd(args[0])
        if path == "lzma.LZMADecompressor().decompress":
            self.used.append("lzma")
            return unlzma(args[0])
        if path in _SAME:
            return args[0]
        raise CannotEvaluate(path[:80])

    @staticmethod
    def _converted(kind: str, value: Any) -> Any:
        if kind in ("bytes", "bytearray") and isinstance(value, bytes):
            return value
        if kind in ("bytes", "bytearray") and isinstance(value, tuple):
            return bytes(value)
        if kind == "str" and isinstance(value, str | PathText):
            return value if isinstance(value, str) else value.text
        if kind in ("list", "tuple") and isinstance(value, tuple):
            return value
        raise CannotEvaluate(kind)

    def _method(self, base: Any, name: str, args: list[Any], named: dict[str, Any]) -> Any:
        if isinstance(base, Opened) and name == "read" and not args:
            return self._contents(base.path, binary=base.binary)
        if isinstance(base, PathText):
            return self._path_method(base, name, args, named)
        if isinstance(base, bytes) and name == "decode":
            return decode(base, *args, **named)
        if isinstance(base, str) and name == "encode":
            return base.encode(args[0] if args and args[0] in ("latin-1", "latin1", "ascii") else "utf-8")
        if isinstance(base, str | bytes):
            if name == "join" and args and isinstance(args[0], tuple):
                return self._joined(base, args[0])
            plain = name in (
                "strip",
                "lstrip",
                "rstrip",
                "split",
                "splitlines",
                "replace",
                "removeprefix",
                "removesuffix",
            )
            if plain and all(isinstance(arg, type(base) | int) for arg in args) and not named:
                if name == "replace" and len(args) >= 2 and len(args[1]) > max(len(args[0]), 1) * 8:
                    raise CannotEvaluate("replace")
                found = getattr(base, name)(*args)
                return tuple(found) if isinstance(found, list) else found
            if name in ("read", "getvalue", "tobytes"):
                return base
        raise CannotEvaluate(name)

    @staticmethod
    def _joined(base: Any, parts: tuple[Any, ...]) -> Any:
        if sum(len(part) for part in parts) + len(base) * len(parts) > 2 * LIMIT_BYTES:
            raise CannotEvaluate("more bytes than a program may hold")
        return base.join(parts)

    def _path_method(self, base: PathText, name: str, args: list[Any], named: dict[str, Any]) -> Any:
        if name in ("read_text", "read_bytes"):
            return self._contents(base.text, binary=name == "read_bytes")
        if name in ("resolve", "absolute", "expanduser"):
            return base
        if name == "joinpath":
            return PathText(posixpath.join(base.text, *[self._path(arg) for arg in args]))
        if name == "with_name":
            return PathText(posixpath.join(posixpath.dirname(base.text), self._path(args[0])))
        if name == "with_suffix":
            return PathText(posixpath.splitext(base.text)[0] + self._path(args[0]))
        if name == "open":
            mode = args[0] if args else named.get("mode", "r")
            return Opened(base.text, isinstance(mode, str) and "b" in mode)
        raise CannotEvaluate(name)

    @staticmethod
    def _path(value: Any) -> str:
        if isinstance(value, PathText):
            return value.text
        if isinstance(value, str):
            return value
        raise CannotEvaluate("path")

    def _contents(self, path: str, *, binary: bool) -> Any:
        data = self._read(posixpath.normpath(path))
        self.files.append(posixpath.normpath(path))
        return data if binary else decode(data, "utf-8-sig")
