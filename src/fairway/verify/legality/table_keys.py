"""Keys of hash tables that hold a context's hash, and those that hold one token more."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fairway.verify.legality.c_code import Node, functions, identifiers, walk
from fairway.verify.legality.expressions import assignments, bare, name_of, names_in, path_of, scopes
from fairway.verify.legality.sources import CSource
from fairway.verify.programs.nodes import all_nodes
from fairway.verify.programs.program import Program

_COUNTING = frozenset("bincount scatter_add_ scatter_add index_add_ index_add add_at index_put_ index_copy_".split())
_BITWISE = frozenset("bitwise_xor bitwise_and bitwise_or remainder fmod mod logical_xor".split())
MOST_DEPTH = 50
"""Of arithmetic that is looked into."""
MOST_KEYS = 400
"""Of one function: no program that anybody wrote has more."""
_MAY_HASH = re.compile(r"\^|xor|%")
_C_ASSIGNED = re.compile(r"(\w+)\s*=(?!=)\s*(.+)\Z", re.DOTALL)
_C_REDUCED = re.compile(
    r"^\(*(.*?)\)*\s*[&%]\s*\(?\s*\w*(?:mask|MASK|size|SIZE|cap|CAP|bucket|BUCKET|N)\w*\)*\Z", re.DOTALL
)
_C_INDEX = re.compile(r"\[\s*(\w+)\s*\]")
_C_CAST = re.compile(r"static_cast<[^<>]*>|\(\s*(?:u?int\d*(?:_t)?|size_t|unsigned(?: long)*|long)\s*\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A key made of a context's hash, and one made of the same hash and one value more."""

    file: str
    line: int
    context: str
    both: str


def pairs_in_python(program: Program) -> Iterator[KeyPair]:
    """Pairs of keys of one program that counts into tables."""
    if program.tree is None or not _MAY_HASH.search(program.text) or not _counts(program.tree):
        return
    for line, context, both in _in_python(program.tree):
        yield KeyPair(file=program.file, line=line, context=context, both=both)


def _counts(tree: ast.Module) -> bool:
    """Whether anything is counted into a table at computed places."""
    for node in all_nodes(tree):
        if isinstance(node, ast.Call) and (name_of(node.func) in _COUNTING or path_of(node.func).endswith("add.at")):
            return True
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add) and isinstance(node.target, ast.Subscript):
            return True
    return False


def _in_python(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    hashing = _hashing_functions(tree)
    for _, nodes in scopes(tree):
        keys = _Keys()
        for target, value in assignments(nodes):
            keys.add(path_of(target), value, hashing)
        used = _used_as_index(nodes)
        yield from keys.pairs(used, nodes)


def _hashing_functions(tree: ast.Module) -> frozenset[str]:
    """Functions of the program whose result a mask or a remainder brings into the range of a table."""
    found = set()
    for scope, nodes in scopes(tree):
        if isinstance(scope, ast.FunctionDef):
            values = [node.value for node in nodes if isinstance(node, ast.Return) and node.value is not None]
            if any(_inner(value) is not None for value in values):
                found.add(scope.name)
    return frozenset(found)


class _Keys:
    """What the names of one function are made of, as far as they are keys of tables."""

    def __init__(self) -> None:
        self.made: dict[str, ast.expr] = {}
        self.reduced: dict[str, set[str]] = {}
        self.composite: list[tuple[int, str, ast.expr]] = []
        self.called: dict[str, tuple[int, str]] = {}

    def add(self, name: str, value: ast.expr, hashing: frozenset[str]) -> None:
        """Take one assignment into account."""
        if not name:
            return
        value = bare(value)
        inner = _inner(value)
        if inner is None:
            if isinstance(value, ast.BinOp):
                self.made[name] = value
            elif isinstance(value, ast.Call) and name_of(value.func) in hashing:
                self.called[name] = (value.lineno, name_of(value.func))
            return
        base = path_of(inner)
        if not base:
            self.composite.append((value.lineno, name, inner))
            return
        self.reduced.setdefault(base, set()).add(name)
        if base in self.made:
            self.composite.append((value.lineno, name, self.made[base]))

    def pairs(self, used: set[str], nodes: tuple[ast.AST, ...]) -> Iterator[tuple[int, str, str]]:
        """Line, key of the context and key of the context with one token more."""
        rolling = _rolling(nodes)
        for line, name, inner in self.composite[:MOST_KEYS]:
            if name not in used:
                continue
            parts = set(_leaves(inner)) - {name}
            context = {key for base in parts for key in self.reduced.get(base, set()) & used if _mixes(inner, base)}
            # A rolling hash that stays reduced is its own key.
            context |= {part for part in parts & rolling & used if _mixes(inner, part)}
            if context - {name}:
                yield line, min(context - {name}), name
        quotients = _quotients(nodes)
        for above, below in quotients:
            if above in self.called and below in self.called:
                yield self.called[above][0], below, above


def _quotients(nodes: tuple[ast.AST, ...]) -> set[tuple[str, str]]:
    """Keys of two tables whose entries are divided by each other: that of the dividend, that of the divisor."""
    keys: dict[str, set[str]] = {}
    for target, value in assignments(nodes):
        name = path_of(target)
        if name:
            keys[name] = _keys_of(bare(value), keys)
    found = set()
    for node in nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            above, below = _keys_of(node.left, keys), _keys_of(node.right, keys)
            found |= {(first, second) for first in above - below for second in below}
    return found


def _keys_of(value: ast.expr, keys: dict[str, set[str]]) -> set[str]:
    """Keys of the entries that an expression is made of."""
    found = {key for name in names_in(value) for key in keys.get(name, ())}
    for part in ast.walk(value):
        if isinstance(part, ast.Subscript):
            key = path_of(bare(part.slice))
            # An entry that is cut to some rows keeps its key.
            if key and not any(keys.get(name) for name in names_in(part.value)):
                found.add(key)
    return found


def _inner(node: ast.expr) -> ast.expr | None:
    """What is brought into the range of a table by a mask or a remainder; None where nothing is."""
    node = bare(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.Mod):
        if isinstance(node.left, ast.Constant) or isinstance(node.left, ast.JoinedStr):
            return None
        return bare(node.left)
    if isinstance(node, ast.Call) and name_of(node.func) in ("remainder", "bitwise_and", "fmod", "mod") and node.args:
        return bare(node.args[0])
    return None


def _leaves(node: ast.expr) -> list[str]:
    """Names at the leaves of arithmetic, as they stand."""
    found: list[str] = []
    waiting = [node]
    while waiting:
        part = bare(waiting.pop())
        if isinstance(part, ast.BinOp):
            waiting += [part.right, part.left]
        elif isinstance(part, ast.Call) and name_of(part.func) in _BITWISE:
            waiting += reversed(part.args)
        elif isinstance(part, ast.Subscript):
            waiting.append(part.value)
        elif path_of(part):
            found.append(path_of(part))
    return found


def _mixes(node: ast.expr, base: str, depth: int = 0) -> bool:
    """Whether arithmetic joins ``base`` with a value that is neither a constant nor part of it."""
    node = bare(node)
    if (
        depth > MOST_DEPTH
        or not isinstance(node, ast.BinOp)
        and not (isinstance(node, ast.Call) and name_of(node.func) in _BITWISE)
    ):
        return False
    if isinstance(node, ast.BinOp) and not isinstance(
        node.op, ast.BitXor | ast.Add | ast.Mult | ast.BitOr | ast.LShift | ast.Sub
    ):
        return False
    sides = [node.left, node.right] if isinstance(node, ast.BinOp) else list(node.args)
    holding = [side for side in sides if base in _leaves(side)]
    others = [side for side in sides if base not in _leaves(side)]
    if not holding:
        return False
    joins = isinstance(node, ast.Call) or isinstance(node.op, ast.BitXor | ast.Add | ast.BitOr)
    if joins and any(_is_token(side) for side in others):
        return True
    return any(_mixes(side, base, depth + 1) for side in holding)


def _is_token(node: ast.expr) -> bool:
    """Whether a term can be a token: not made of numbers, table sizes or multipliers alone."""
    waiting = [node]
    while waiting:
        part = bare(waiting.pop())
        if isinstance(part, ast.BinOp):
            waiting += [part.left, part.right]
        elif isinstance(part, ast.Subscript):
            if (
                not name_of(part.value)
                .lower()
                .strip("_")
                .endswith(("primes", "mult", "multipliers", "seeds", "coeffs"))
            ):
                return True
        elif name_of(part) and not name_of(part).isupper():
            return True
    return False


def _used_as_index(nodes: tuple[ast.AST, ...]) -> set[str]:
    """Names that index something, are counted, or leave the function in a tuple."""
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Subscript):
            index = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            found.update(path_of(bare(part)) for part in index)
        elif isinstance(node, ast.Call):
            name = name_of(node.func)
            if (
                name in _COUNTING
                or path_of(node.func).endswith("add.at")
                or name in ("gather", "index_select", "take", "get")
            ):
                found.update(path_of(bare(argument)) for argument in node.args)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            found.update(path_of(bare(part)) for part in node.value.elts)
        elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load):
            found.update(path_of(bare(part)) for part in node.elts)
    return found - {""}


def _rolling(nodes: tuple[ast.AST, ...]) -> set[str]:
    """Names that are reduced and made of themselves: ``h = (h * P + t) % B``."""
    found = set()
    for target, value in assignments(nodes):
        inner = _inner(value)
        if inner is not None and path_of(target) in _leaves(inner):
            found.add(path_of(target))
    return found - {""}


def pairs_in_c(source: CSource) -> Iterator[KeyPair]:
    """Pairs of keys of C text that index something."""
    for function in functions(source.text):
        nodes = [node for node in walk(function.body) if node.kind == "statement"]
        indexed = {name for node in walk(function.body) for name in _C_INDEX.findall(node.text)}
        reduced: dict[str, str] = {}
        composite: list[tuple[Node, str, str]] = []
        for node in nodes:
            match = _C_ASSIGNED.search(node.text)
            inner = None if match is None else _C_REDUCED.match(_C_CAST.sub("", match.group(2)).strip())
            if match is None or inner is None or match.group(1) not in indexed:
                continue
            made = inner.group(1).strip("() \n\t")
            if re.fullmatch(r"\w+", made):
                reduced[made] = match.group(1)
            elif len(composite) < MOST_KEYS:
                composite.append((node, match.group(1), made))
        for node, name, made in composite:
            base = next((word for word in sorted(identifiers(made)) if word in reduced and word != name), None)
            if base is not None and _c_joins(made, base):
                line = source.first_line + node.line - 1
                yield KeyPair(file=source.file, line=line, context=reduced[base], both=name)


def _c_joins(made: str, base: str) -> bool:
    others = {word for word in identifiers(made) if word != base and not word.isupper()}
    joined = "^" in made or "+" in made or "(" in made or "|" in made
    return joined and bool(others)
