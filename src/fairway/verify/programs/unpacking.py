"""A file to the program that it runs in the end: what it decodes and executes, by decoding alone."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any

from fairway.verify.programs.codecs import COMPRESSIONS, DECODERS, ERRORS, LIMIT_BYTES, unlzma, unzlib
from fairway.verify.programs.evaluate import CannotEvaluate, Code, Evaluator, PathText
from fairway.verify.programs.nodes import all_nodes
from fairway.verify.programs.parse import Parsed, parse

MOST_LAYERS = 6
STUB_SHARE = 0.2
"""A constant that fills this much of a file is what the file is there for; escapes make it four times as long there."""
STUB_NODES = 400
"""A tree with more nodes than this, its constants not counted, is a program of its own, whatever else it executes."""
CHARACTERS_A_NODE = 4
"""About what a node takes in source text: what is executed is the program only where it is longer than what does it."""
MOST_RUNS = 8
MOST_GUESSES = 300
MOST_GUESSED_BYTES = 30_000_000
_RUNNERS = frozenset({"exec", "eval"})
_RUN_FILES = frozenset({"runpy.run_path"})
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_ENCODINGS = {
    "utf-8": "utf-8-sig",
    "utf8": "utf-8-sig",
    "latin-1": "latin-1",
    "iso-8859-1": "latin-1",
    "ascii": "ascii",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpacked:
    """What a file runs in the end."""

    text: str
    file: str
    """Where the text, or what it was unpacked from, lies."""
    layers: Sequence[str]
    """Decoders that led there, outermost first; ``open NAME`` where another file is executed."""
    parsed: Parsed
    outer: Parsed
    """The file itself."""
    files: Sequence[str] = ()
    """Other files of the folder that were read on the way."""
    hidden: str = ""
    """Why the text is not what runs; empty where it is."""


@dataclass(frozen=True, slots=True)
class _Layer:
    text: str
    file: str
    how: str


class _Hidden(ValueError):
    """The file executes what cannot be had by decoding."""


def unpack(file: str, data: bytes, read: Callable[[str], bytes]) -> Unpacked:
    """The program that ``file`` runs; ``read`` gives other files of the folder, or raises ``CannotEvaluate``."""
    text, problem = text_of(data)
    parsed = parse(text) if not problem else Parsed(tree=None, hidden=problem)
    outer, where = parsed, file
    layers: list[str] = []
    files: list[str] = []
    hidden = parsed.hidden
    try:
        while parsed.tree is not None and (layer := _executed(parsed.tree, text, where, read, files)) is not None:
            if len(layers) >= MOST_LAYERS:
                raise _Hidden(f"is packed more than {MOST_LAYERS} times")
            text, where = layer.text, layer.file
            layers.append(layer.how)
            parsed = parse(text)
            hidden = f"what it unpacks to {parsed.hidden}" if parsed.hidden else ""
    except _Hidden as reason:
        hidden = str(reason)
        parsed = Parsed(tree=None, hidden=hidden, syntax=parsed.syntax)
    return Unpacked(
        text=text, file=where, layers=tuple(layers), parsed=parsed, outer=outer, files=tuple(files), hidden=hidden
    )


def text_of(data: bytes) -> tuple[str, str]:
    """The text of a Python file, and why it has none; line ends are those of Python."""
    if len(data) > LIMIT_BYTES:
        return "", f"has {len(data)} bytes, no program has more than {LIMIT_BYTES}"
    encoding = "utf-8-sig"
    for line in data.split(b"\n", 2)[:2]:
        if (match := _CODING.match(line)) is not None:
            name = match.group(1).decode("ascii", "replace").lower().replace("_", "-")
            encoding = _ENCODINGS.get(name, "")
            if not encoding:
                return data.decode("utf-8", "replace"), f"declares the encoding {name[:30]!r}"
            break
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line_number = data.count(b"\n", 0, error.start) + 1
        return data.decode(
            "utf-8", "replace"
        ), f"is no Python: byte {error.start} in line {line_number} is no {encoding}"
    return text.replace("\r\n", "\n").replace("\r", "\n"), ""


def _executed(tree: ast.Module, text: str, file: str, read: Callable[[str], bytes], files: list[str]) -> _Layer | None:
    """The program that a program executes instead of being one; None where it is one."""
    nodes = sum(not isinstance(node, ast.Constant) for node in all_nodes(tree))
    if nodes > STUB_NODES:
        return None
    runs = list(islice(_runs(tree), MOST_RUNS))
    constants = sorted(_constants(tree), key=len, reverse=True)
    longest = constants[0] if constants else b""
    problem = ""
    for body, call in runs:
        evaluator = Evaluator(file, read)
        try:
            evaluator.learn(tree.body)
            evaluator.learn(body)
            found = _source(evaluator, call)
        except (CannotEvaluate, RecursionError) as reason:
            problem = problem or f"line {call.lineno} executes what cannot be had by decoding ({reason})"
            continue
        if found is None or not found[0].strip() or len(found[0]) < CHARACTERS_A_NODE * nodes:
            continue
        files += evaluator.files
        opened = evaluator.files[-1] if evaluator.files else ""
        decoders = " ".join(dict.fromkeys(evaluator.used))
        plain = bool(opened) and not evaluator.used
        how = f"{decoders} {'open ' + opened if opened else ''}".strip() or "plain"
        return _Layer(found[0], opened if plain and opened.endswith(".py") else file, how)
    if len(longest) >= STUB_SHARE * len(text):
        names = _names(tree)
        for payload in constants[:3]:
            guessed = _guessed(payload, names)
            if guessed is not None and len(guessed[0]) >= CHARACTERS_A_NODE * nodes:
                return _Layer(guessed[0], file, guessed[1])
        if runs:
            raise _Hidden(
                problem or f"line {runs[0][1].lineno} executes a constant that no decoder named in it decodes"
            )
    if problem and nodes < STUB_NODES / 4:
        raise _Hidden(problem)
    return None


def _runs(tree: ast.Module) -> Iterator[tuple[list[ast.stmt], ast.Call]]:
    """Each call that executes source, with the body of the function that it stands in."""
    bodies: list[list[ast.stmt]] = [tree.body]
    bodies += [node.body for node in all_nodes(tree) if isinstance(node, ast.FunctionDef)]
    for body in reversed(bodies):
        inner = body is not tree.body
        waiting: list[ast.AST] = list(reversed(body))
        while waiting:
            node = waiting.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(node, ast.Call) and _runs_source(node.func):
                yield (body if inner else []), node
            waiting.extend(ast.iter_child_nodes(node))


def _runs_source(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in _RUNNERS or function.id == "run_path"
    if isinstance(function, ast.Attribute):
        return function.attr == "run_path" or (
            function.attr in _RUNNERS and isinstance(function.value, ast.Name) and "builtins" in function.value.id
        )
    return False


def _source(evaluator: Evaluator, call: ast.Call) -> tuple[str] | None:
    """The text that a call executes."""
    if not call.args:
        return None
    value: Any = evaluator.value(call.args[0])
    path_called = isinstance(call.func, ast.Attribute | ast.Name) and ast.unparse(call.func).endswith("run_path")
    if path_called:
        if not isinstance(value, str | PathText):
            return None
        path = value if isinstance(value, str) else value.text
        value = evaluator.value(ast.parse(f"open({path!r}).read()", mode="eval").body)
    while isinstance(value, Code):
        value = value.source
    if isinstance(value, bytes):
        text, problem = text_of(value)
        if problem:
            raise CannotEvaluate(problem)
        return (text,)
    if not isinstance(value, str):
        raise CannotEvaluate("it is no text that is written down")
    return (value.replace("\r\n", "\n"),)


def _constants(tree: ast.Module) -> Iterator[bytes]:
    for node in all_nodes(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and len(node.value) > 40:
            yield node.value if isinstance(node.value, bytes) else node.value.encode("utf-8", "replace")


def _names(tree: ast.Module) -> frozenset[str]:
    """Every identifier of a program, those of its imports included."""
    found: set[str] = set()
    for node in all_nodes(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found.update(node.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            found.update((node.module or "").split("."))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 40:
            found.add(node.value)
    return frozenset(found)


def _guessed(payload: bytes, names: frozenset[str]) -> tuple[str, str] | None:
    """What the decoders that a stub names make of its constant, where that is Python."""
    encodings: list[tuple[str, Callable[[bytes], Any]]] = [
        (path.split(".")[1], decode)
        for path, decode in DECODERS.items()
        if path.split(".")[0] in ("base64", "binascii") and path.split(".")[1] in names
    ]
    if not encodings and not any(path.split(".")[0] in names for path in COMPRESSIONS):
        return None
    tried = made = 0
    for encoding, first in encodings or [("plain", bytes)]:
        try:
            packed = first(payload)
        except tuple(ERRORS):
            continue
        for codec, second in _expanders(names):
            tried += 1
            if tried > MOST_GUESSES or made > MOST_GUESSED_BYTES:
                return None
            try:
                found = second(packed)
            except tuple(ERRORS):
                continue
            made += len(found)
            text, problem = text_of(found)
            if not problem and text.strip() and parse(text).tree is not None:
                return text, f"{encoding} {codec}".removeprefix("plain ")
    return None


def _expanders(names: frozenset[str]) -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    """Decompressors that a stub names, with every parameter that a raw stream does not carry itself."""
    named = False
    for path in COMPRESSIONS:
        module = path.split(".")[-2]
        if path.count(".") == 1 and module in names:
            named = True
            yield module, DECODERS[path]
    if "lzma" in names:
        yield "lzma2", lambda data: unlzma(data, 3, filters=[{"id": 0x21}])
        for lc, lp, pb in product(range(5), range(5), range(5)):
            if lc + lp <= 4:
                yield "lzma1", _lzma1(lc, lp, pb)
    if "zlib" in names:
        yield "zlib", lambda data: unzlib(data, -15)
        yield "zlib", lambda data: unzlib(data, 31)
    if not named:
        yield "plain", bytes


def _lzma1(lc: int, lp: int, pb: int) -> Callable[[bytes], bytes]:
    chain = {"id": 0x4000000000000001, "lc": lc, "lp": lp, "pb": pb}
    return lambda data: unlzma(data, 3, filters=[chain])
