"""Text of a program to its syntax tree, and which Python versions take it, whatever Python runs the judge."""

import ast
import re
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from fairway.verify.programs.fstrings import CannotScan, Lowered, lower
from fairway.verify.programs.nodes import all_nodes

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
TEXT_LIMIT_BYTES = 2_000_000
"""No program of a submission is longer."""
MOST_TOKENS = 200_000
"""A bound on memory: a tree takes up to a kilobyte for each word or mark. The longest real program seen has 48,000."""
MOST_DEPTH = 250
"""What walks a tree by recursion must not reach the interpreter's own limit."""

Error = tuple[str, int | None]
_TOKEN = re.compile(r"\w+|[^\w\s]")
_TYPE_PARAMETERS = re.compile(
    r"^([ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+\w+)(\[[^\n]*?\])(?=[ \t]*[(:])", re.MULTILINE
)
_TYPE_STATEMENT = re.compile(r"^([ \t]*)type[ \t]+(\w+)(\[[^\n]*?\])?(?=[ \t]*=[^=])", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What parsing shows of a text."""

    tree: ast.Module | None
    """None where no supported Python takes the text, or it is out of bounds."""
    syntax: Mapping[str, Error | None] = field(default_factory=dict)
    """Version to its first error and the line of that, None where it compiles; empty where nobody can tell."""
    hidden: str = ""
    """Why there is no tree; empty where there is one."""
    tokens: int = 0
    """Words and marks of a text that has a tree."""


def parse(text: str) -> Parsed:
    """The tree of a text, with every node on the line where it is written."""
    if len(text) > TEXT_LIMIT_BYTES:
        return Parsed(tree=None, hidden=f"has {len(text)} characters, no program has more than {TEXT_LIMIT_BYTES}")
    tokens = sum(1 for _ in _TOKEN.finditer(text))
    if tokens > MOST_TOKENS:
        return Parsed(tree=None, hidden=f"has {tokens} words and marks, no program has more than {MOST_TOKENS}")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        return _broken(("holds a null byte", line))
    tree, error = _attempt(text)
    if tree is not None:
        older = _older(text) if sys.version_info >= (3, 12) else {}
        return replace(_finished(tree, older), tokens=tokens)
    assert error is not None
    if error[1] is None:
        return Parsed(tree=None, hidden=f"cannot be parsed: {error[0]}")
    if sys.version_info >= (3, 12):
        return _broken(error)
    return replace(_newer(text, error), tokens=tokens)


def _attempt(text: str) -> tuple[ast.Module | None, Error | None]:
    """The tree by the parser of the running Python, or its error."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text), None
    except SyntaxError as error:
        return None, (f"{type(error).__name__}: {error.msg}"[:200], error.lineno)
    except (ValueError, RecursionError, MemoryError) as error:
        # Out of bounds, which says nothing of the syntax: no line.
        return None, (f"{type(error).__name__}: {str(error)[:80] or 'nested too deep'}", None)


def _broken(error: Error) -> Parsed:
    place = f" in line {error[1]}" if error[1] else ""
    return Parsed(tree=None, syntax=dict.fromkeys(VERSIONS, error), hidden=f"is no Python{place}: {error[0]}")


def _older(text: str) -> dict[str, Error | None]:
    """What 3.10 and 3.11 say of a text that the running Python takes."""
    try:
        lowered = lower(text, _prefix(text))
    except CannotScan:
        return {}
    if lowered.first_line is None:
        return {}
    return dict.fromkeys(("3.10", "3.11"), (f"SyntaxError: {lowered.reason}", lowered.first_line))


def _newer(text: str, error: Error) -> Parsed:
    """A text that the running Python does not take, read as Python 3.12 would."""
    try:
        lowered = lower(_without_type_parameters(text), _prefix(text))
    except CannotScan:
        return _broken(error)
    tree, second = _attempt(lowered.text)
    if tree is None or depth_of(tree) > MOST_DEPTH:
        return _broken(second or error)
    failed = _fill(tree, lowered)
    if failed is not None:
        return _broken(failed)
    older = (f"SyntaxError: {lowered.reason}", lowered.first_line) if lowered.first_line is not None else error
    return _finished(tree, dict.fromkeys(("3.10", "3.11"), older))


def _without_type_parameters(text: str) -> str:
    """The text without the type parameters of PEP 695; none of them spans lines here."""
    return _TYPE_STATEMENT.sub(r"\1\2", _TYPE_PARAMETERS.sub(r"\1", text))


def _prefix(text: str) -> str:
    prefix = "_hole"
    while prefix in text:
        prefix += "_"
    return prefix


def _fill(tree: ast.Module, lowered: Lowered, depth: int = 0) -> Error | None:
    """Put the expressions back where their names stand; the first error of one, None where all are well."""
    expressions: dict[str, ast.expr] = {}
    for hole in lowered.holes:
        body, error = _expression(hole.text, hole.line, depth)
        if body is None:
            return error
        expressions[hole.name] = body
    for node in ast.walk(tree):
        if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name):
            node.value = expressions.get(node.value.id, node.value)
    return None


def _expression(text: str, line: int, depth: int) -> tuple[ast.expr | None, Error | None]:
    lowered: Lowered | None = None
    tree, error = _attempt(f"({text}\n)")
    if tree is None and depth < 8:
        try:
            lowered = lower(f"({text}\n)", _prefix(text))
        except CannotScan:
            return None, ("SyntaxError: the expression of an f-string", line)
        tree, error = _attempt(lowered.text)
        if tree is not None and depth_of(tree) <= MOST_DEPTH:
            error = _fill(tree, lowered, depth + 1)
    if tree is None or error is not None or depth_of(tree) > MOST_DEPTH:
        return None, (f"{error[0] if error else 'nested too deep'} in the expression of an f-string", line)
    statement = tree.body[0] if len(tree.body) == 1 else None
    if not isinstance(statement, ast.Expr):
        return None, ("SyntaxError: the expression of an f-string", line)
    ast.increment_lineno(statement, line - 1)
    return statement.value, None


def _finished(tree: ast.Module, older: Mapping[str, Error | None]) -> Parsed:
    """What is left to say of a tree: whether it compiles, and what 3.10 lacks."""
    depth = depth_of(tree)
    if depth > MOST_DEPTH:
        return Parsed(tree=None, hidden=f"is nested {depth} deep, no program is deeper than {MOST_DEPTH}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Names, returns and awaits where none may stand are seen here; nothing is run.
            compile(tree, "<program>", "exec", dont_inherit=True, optimize=0)
    except SyntaxError as error:
        found = (f"{type(error).__name__}: {error.msg}"[:200], error.lineno)
        return Parsed(tree=tree, syntax=dict.fromkeys(VERSIONS, found))
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return Parsed(tree=None, hidden=f"cannot be compiled: {type(error).__name__}")
    syntax: dict[str, Error | None] = dict.fromkeys(VERSIONS)
    syntax.update(older)
    if syntax["3.10"] is None:
        syntax["3.10"] = _missing_in_310(tree)
    if sys.version_info >= (3, 12):
        syntax |= {version: found for version in ("3.10", "3.11") if (found := syntax[version] or _pep695(tree))}
    return Parsed(tree=tree, syntax=syntax)


def _missing_in_310(tree: ast.Module) -> Error | None:
    for node in all_nodes(tree):
        if isinstance(node, ast.TryStar):
            return "SyntaxError: except* needs Python 3.11", node.lineno
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple) and node.slice.elts:
            first = node.slice.elts[0]
            starred = any(isinstance(part, ast.Starred) for part in node.slice.elts)
            if starred and first.col_offset == node.slice.col_offset and first.lineno == node.slice.lineno:
                return "SyntaxError: a starred index needs Python 3.11", node.lineno
    return None


def _pep695(tree: ast.Module) -> Error | None:
    for node in all_nodes(tree):
        if getattr(node, "type_params", None) or type(node).__name__ == "TypeAlias":
            return "SyntaxError: type parameters need Python 3.12", getattr(node, "lineno", None)
    return None


def depth_of(tree: ast.AST) -> int:
    """How many nodes stand inside one another at most."""
    level: list[ast.AST] = [tree]
    depth = 0
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth
