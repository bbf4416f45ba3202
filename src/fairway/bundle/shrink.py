"""The same program in few bytes: minified, compressed, and wrapped in a stub that unpacks and runs it."""

import ast
import base64
import bz2
import hashlib
import lzma
from collections.abc import Collection, Iterable

import brotli  # type: ignore[import-untyped]
import python_minifier
from python_minifier.f_string import OuterFString
from python_minifier.module_printer import ModulePrinter

from fairway.bundle.inline import inlined
from fairway.bundle.letters import COMPILE_TIME, lettered, variables_of
from fairway.bundle.names import shortened
from fairway.bundle.optimise import optimised, positional
from fairway.bundle.prune import drop_unreached
from fairway.bundle.terse import terse
from fairway.spec.recipe import Recipe

SOURCE_NAME = "train_gpt.min.py"
"""What tracebacks and ``inspect`` call the unpacked text; it lies in ``linecache``, for Triton reads kernels back."""

_STUB = """import base64,linecache,{codec} as z
s=z.decompress(base64.b85decode("{data}")).decode();n="{name}";linecache.cache[n]=1,None,s.splitlines(1),n;exec(compile(s,n,"exec"))"""


def minified(text: str, recipe: Recipe, kept_names: Collection[str]) -> str:
    """A program without docstrings, annotations and assertions, names shortened; what is then unused is gone.

    Its last line is a comment: the SHA-256 of ``text``, by which the judge knows what it was made from.
    """
    tree = optimised(terse(ast.parse(text)), recipe, frozenset(kept_names))
    tree = _Bare().visit(tree)
    drop_unreached(tree, annotations=True)
    tree = inlined(tree)
    positional(tree)
    shortened(tree, kept_names)
    small: str = python_minifier.minify(
        ast.unparse(ast.fix_missing_locations(tree)),
        remove_annotations=False,
        remove_literal_statements=True,
        rename_globals=False,
        rename_locals=False,
        hoist_literals=False,
        convert_posargs_to_args=False,
    )
    tree = ast.parse(small)
    variables, taken = variables_of(tree)
    named_by = f"\n#{hashlib.sha256(text.encode()).hexdigest()}"
    forms = [form + named_by for form in lettered(printed(tree), variables, taken)]
    return min(forms, key=lambda form: len(brotli.compress(form.encode(), quality=11)))


class _Printer(ModulePrinter):  # type: ignore[misc]
    """Prints f-strings as Python 3.10 reads them, whichever Python prints: no quote inside a pair of the same."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        self.printer.fstring(str(OuterFString(node, pep701=False)))


def printed(tree: ast.Module) -> str:
    """The shortest spelling of a tree."""
    printer = _Printer(prefer_single_line=False)
    printer(tree)
    text: str = printer.code
    assert ast.dump(ast.parse(text)) == ast.dump(tree), "printing changed the program"
    return text


def self_extracting(text: str) -> bytes:
    """A file that unpacks ``text`` and runs it as itself: the smallest of what the codecs give."""
    data = text.encode()
    packed = [("lzma", each) for each in _lzma_forms(data)]
    packed += [("brotli", brotli.compress(data, quality=11, lgwin=lgwin)) for lgwin in (16, 18, 22)]
    packed.append(("bz2", bz2.compress(data, 9)))
    files = [
        _STUB.format(codec=codec, data=base64.b85encode(each).decode(), name=SOURCE_NAME).encode()
        for codec, each in packed
    ]
    return min(files, key=len)


def _lzma_forms(data: bytes) -> Iterable[bytes]:
    """LZMA streams with a short header, which say by themselves how they are to be read."""
    for lc in range(5):
        for pb in range(3):
            filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": lc, "lp": 0, "pb": pb}]
            yield lzma.compress(data, lzma.FORMAT_ALONE, filters=filters)


class _Bare(ast.NodeTransformer):
    """Drops what only readers and checkers need: annotations, assertions, casts, abstract methods, protocols.

    The annotation by which Triton tells constants from arguments stays.
    """

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST | None:
        if any(isinstance(each, ast.Name) and each.id == "abstractmethod" for each in node.decorator_list):
            return None
        node.returns = None
        arguments = node.args
        for arg in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
            if arg is not None and not (isinstance(arg.annotation, ast.Name) and arg.annotation.id == COMPILE_TIME):
                arg.annotation = None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST | None:
        bases = {each.id for each in node.bases if isinstance(each, ast.Name)}
        if "Protocol" in bases:
            return None
        node.bases = [each for each in node.bases if not (isinstance(each, ast.Name) and each.id == "ABC")]
        plain = ast.Name("int", ast.Load()) if "NamedTuple" in bases else ast.Constant(0)
        body: list[ast.stmt] = []
        for each in node.body:
            if isinstance(each, ast.AnnAssign):  # a field: its annotation says that it is one
                each.annotation = plain
                body.append(each)
            elif not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)):
                seen = self.visit(each)
                if seen is not None:
                    body.append(seen)
        node.body = body or [ast.Pass()]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        self.generic_visit(node)
        return ast.Assign([node.target], node.value)

    def visit_Assert(self, node: ast.Assert) -> ast.AST | None:
        return None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        self.generic_visit(node)
        return None if isinstance(node.value, ast.Constant) else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if node.module == "__future__" else node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "cast":
            return node.args[1]
        return node
