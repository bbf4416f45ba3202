"""Loops that give a hint at each position, and what the hint depends on."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fairway.verify.legality.c_code import Node, functions, identifiers, walk
from fairway.verify.legality.expressions import bare, names_in, path_of
from fairway.verify.legality.sources import CSource
from fairway.verify.programs.nodes import all_nodes
from fairway.verify.programs.program import Program

_ASSIGNED = re.compile(r"(.*?[\w\])])\s*(?<![<>=!])=(?!=)\s*(.+)\Z", re.DOTALL)
_C_PLACE = re.compile(r"\s*\w+\s*\[\s*(\w+)\s*\]\s*")
_CALL = re.compile(r"\b(\w+)\s*\(")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A hint that is written, or not, by a class of the token that it is a hint for."""

    file: str
    line: int
    hint: str
    flag: str


def gates_in_python(program: Program) -> Iterator[Gate]:
    """Hints of one program that are given, or not, by the token that they are for."""
    if program.tree is None:
        return
    for node in all_nodes(program.tree):
        if isinstance(node, ast.For):
            target = _position_and_token(node)
            if target is not None:
                for line, hint, flag in _PythonLoop(*target, node).gates():
                    yield Gate(file=program.file, line=line, hint=hint, flag=flag)


def _position_and_token(loop: ast.For) -> tuple[str, frozenset[str]] | None:
    """Name of the position and of the token that a loop runs over; None for any other loop."""
    if not isinstance(loop.iter, ast.Call):
        return None
    name = path_of(loop.iter.func)
    if name == "enumerate" and isinstance(loop.target, ast.Tuple) and len(loop.target.elts) == 2:
        position, token = path_of(loop.target.elts[0]), path_of(loop.target.elts[1])
        return (position, frozenset({token})) if position and token else None
    if name in ("range", "prange", "nb.prange", "numba.prange") and isinstance(loop.target, ast.Name):
        return loop.target.id, frozenset()
    return None


class _PythonLoop:
    """One pass over the body of a loop, in order: what an earlier round left behind is the past, and free to use."""

    def __init__(self, position: str, tokens: frozenset[str], loop: ast.For) -> None:
        self.position, self.loop = position, loop
        self.tokens = set(tokens)
        self.flags: set[str] = set()
        self.written = {_base(node) for node in ast.walk(loop) if isinstance(node, ast.Subscript) and _is_store(node)}
        self.found: list[tuple[int, str, str, frozenset[str]]] = []
        self.governing: list[str] = []

    def gates(self) -> Iterator[tuple[int, str, str]]:
        """Line, array and flag of every hint under a flag, whose source the rest of the loop learns into."""
        if len(self.loop.body) < 2:
            return
        self._block(self.loop.body)
        learned = {base for base in self.written if base}
        for line, hint, flag, read in self.found:
            if read & (learned - {hint}):
                yield line, hint, flag
                return

    def _block(self, body: list[ast.stmt]) -> None:
        for statement in body:
            if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                for target in targets:
                    self._assigned(target, statement.value, statement.lineno)
            elif isinstance(statement, ast.If):
                flag = self._flag_in(statement.test)
                self.governing += [flag] if flag else []
                before = len(self.governing)
                self._block(statement.body)
                self._block(statement.orelse)
                del self.governing[before:]
                leaves = any(isinstance(part, ast.Continue | ast.Break | ast.Return) for part in statement.body)
                if flag and not leaves:
                    self.governing.pop()
            elif isinstance(statement, ast.For | ast.While | ast.With | ast.Try):
                self._block(statement.body)

    def _assigned(self, target: ast.expr, value: ast.expr, line: int) -> None:
        name = path_of(target)
        if name:
            if self._reads_token(value):
                self.tokens.add(name)
            elif self._flag_in(value):
                self.flags.add(name)
            elif self.governing:
                # What is chosen by a flag is as good as the flag.
                self.flags.add(name)
            return
        if isinstance(target, ast.Subscript) and path_of(bare(target.slice)) == self.position and self.governing:
            read = frozenset(_base(part) for part in ast.walk(value) if isinstance(part, ast.Subscript | ast.Attribute))
            self.found.append((line, _base(target), self.governing[0], read | names_in(value)))

    def _reads_token(self, value: ast.expr) -> bool:
        """Whether a value is the token itself: ``int(tokens[i])``, or another name of it."""
        value = bare(value)
        if path_of(value) in self.tokens and path_of(value):
            return True
        if not isinstance(value, ast.Subscript) or _base(value) in self.written:
            return False
        return path_of(bare(value.slice)) == self.position

    def _flag_in(self, value: ast.expr) -> str:
        """What makes a value depend on the token's class: a look-up by it, or a flag that did; empty if nothing."""
        for part in ast.walk(value):
            if isinstance(part, ast.Name) and part.id in self.flags:
                return part.id
            if isinstance(part, ast.Subscript) and isinstance(part.ctx, ast.Load) and _base(part) not in self.written:
                if path_of(bare(part.slice)) in self.tokens:
                    return f"{_base(part)}[{path_of(bare(part.slice))}]"
        return ""


def _is_store(node: ast.Subscript) -> bool:
    return isinstance(node.ctx, ast.Store)


def _base(node: ast.AST) -> str:
    """What is indexed in the end: ``self.table`` of ``self.table[order][key]``."""
    while isinstance(node, ast.Subscript):
        node = node.value
    return path_of(node)


def gates_in_c(source: CSource) -> Iterator[Gate]:
    """Hints of C text that are given, or not, by the token that they are for."""
    for function in functions(source.text):
        for loop in walk(function.body):
            if loop.kind != "for":
                continue
            position = re.search(r"(\w+)\s*(?:=|:)", loop.text)
            if position is not None:
                for line, hint, flag in _CLoop(position.group(1), loop).gates():
                    yield Gate(file=source.file, line=source.first_line + line - 1, hint=hint, flag=flag)


class _CLoop:
    """One pass over the body of a loop of C, in order."""

    def __init__(self, position: str, loop: Node) -> None:
        self.position, self.loop = position, loop
        self.positions = {position}
        self.tokens: set[str] = set()
        self.flags: set[str] = set()
        self.gated: set[str] = set()
        self.governing: list[str] = []
        self.found: list[tuple[int, str, str, frozenset[str]]] = []
        self.learned: set[str] = set()

    def gates(self) -> Iterator[tuple[int, str, str]]:
        """Line, array and flag of the first hint under a flag that the loop goes on to learn for."""
        self._block(self.loop.body)
        for line, hint, flag, read in self.found:
            if read & self.learned:
                yield line, hint, flag
                return

    def _block(self, body: tuple[Node, ...]) -> None:
        for node in body:
            if node.kind == "statement":
                self._statement(node)
                continue
            flag = self._flag_in(node.text) if node.kind == "if" else ""
            self.governing += [flag] if flag else []
            self._block(node.body)
            leaves = any(
                part.kind == "statement" and part.text.split()[:1] in (["continue"], ["break"])
                for part in walk(node.body)
            )
            if flag and not leaves:
                self.governing.pop()

    def _statement(self, node: Node) -> None:
        match = _ASSIGNED.match(node.text)
        if match is None:
            self._call(node.text)
            return
        target, value = match.group(1).strip(), match.group(2)
        index = re.search(r"(\w+)\s*\[\s*([^\[\]]*?)\s*\]\Z", target)
        if index is not None:
            if identifiers(value) & self.gated:
                self.gated.add(index.group(1))
            flag = self.governing[0] if self.governing else next(iter(identifiers(value) & self.gated), "")
            if index.group(2) == self.position and flag:
                self.found.append((node.line, index.group(1), flag, identifiers(value)))
            return
        name = re.search(r"(\w+)\Z", target)
        if name is None:
            return
        if self._is_token(value):
            self.tokens.add(name.group(1))
        elif (place := _C_PLACE.fullmatch(value)) is not None and place.group(1) in self.positions:
            self.positions.add(name.group(1))
        elif self._flag_in(value):
            self.flags.add(name.group(1))
        elif identifiers(value) & self.gated:
            self.gated.add(name.group(1))
        self._call(value)

    def _call(self, text: str) -> None:
        """A call with the token teaches what it gets; a call with a flag gives its other arguments the flag's mark."""
        call = _CALL.search(text)
        words = identifiers(text)
        if call is None:
            return
        if words & self.tokens:
            self.learned |= words | self.gated
        elif words & self.flags:
            self.gated |= {word for word in words - self.flags if word != call.group(1)}

    def _is_token(self, value: str) -> bool:
        """``tokens[i]`` or ``uint16_t(tokens_[p])`` where ``p = pos[i]``, of an array that is no table of classes."""
        found = re.fullmatch(
            r"\s*(?:\(?\w+\)?\s*\(?\s*)?(?:\w+(?:->|\.))?(\w*(?:tok|tgt|target|ids?|input|seq|text)\w*)\s*\[\s*(\w+)\s*\]\s*\)?\s*",
            value,
        )
        return found is not None and found.group(2) in self.positions

    def _flag_in(self, value: str) -> str:
        for word in identifiers(value) & self.flags:
            return word
        for table, index in re.findall(r"(\w+)\s*\[\s*(\w+)\s*\]", value):
            if index in self.tokens:
                return f"{table}[{index}]"
        return ""
