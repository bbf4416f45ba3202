"""Statements, loops and functions of C, C++ and CUDA text, without comments; a reader of shapes, no compiler."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_NOISE = re.compile(r"//[^\n]*|/\*.*?(?:\*/|\Z)|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", re.DOTALL)
_HEADER = re.compile(r"(\w+)\s*\([^;{}]*\)\s*(?:const|noexcept|override|\s)*\Z")
_MARKS = re.compile(r"[;{}]")
_BRACKETS = {"{": re.compile(r"[{}]"), "(": re.compile(r"[()]")}
_WORD = re.compile(r"\w+")
_ENDS = re.compile(r"[(){};\[\]]")
_KEYWORDS = frozenset("if for while switch do else return catch sizeof".split())
MOST_DEPTH = 200
MOST_HEADER = 2000
MOST_TEXT = 1000
"""Letters of a statement that are looked at."""

Kind = Literal["statement", "if", "else", "for", "while", "block"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One statement, with what it governs."""

    kind: Kind
    text: str
    """Of a statement its own, of ``if``, ``for`` and ``while`` what stands in the brackets."""
    line: int
    body: tuple["Node", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function with a body."""

    name: str
    line: int
    body: tuple[Node, ...]


def plain(text: str) -> str:
    """C text with comments and the inside of constants blanked; lines stay where they are."""
    return _NOISE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)


def functions(text: str) -> Iterator[Function]:
    """Every function body of a text, those of methods included."""
    code = plain(text)
    before = inside_until = 0
    for mark in _MARKS.finditer(code):
        at = mark.start()
        if at < inside_until:
            continue
        if mark.group() == "{":
            header = _HEADER.search(code[max(before, at - MOST_HEADER) : at].split(" : ")[0].rstrip())
            if header is not None and header.group(1) not in _KEYWORDS:
                inside_until = _closing(code, at, len(code), "{", "}") + 1
                reader = _Reader(code, at + 1, inside_until - 1)
                yield Function(name=header.group(1), line=code.count("\n", 0, at) + 1, body=tuple(reader.block(0)))
                before = inside_until
                continue
        before = at + 1


def _closing(code: str, at: int, end: int, opening: str, closing: str) -> int:
    """Where the bracket that opens at ``at`` closes; ``end`` where it does not."""
    depth = 0
    for match in _BRACKETS[opening].finditer(code, at, end):
        depth += 1 if match.group() == opening else -1
        if depth == 0:
            return match.start()
    return end


class _Reader:
    """Takes a body apart from left to right."""

    def __init__(self, code: str, at: int, end: int) -> None:
        self.code, self.at, self.end = code, at, end
        self._counted, self._line = 0, 1

    def block(self, depth: int) -> Iterator[Node]:
        while True:
            self._skip_space()
            if self.at >= self.end:
                return
            if self.code[self.at] == "}":
                self.at += 1
                return
            yield from self.statement(depth)

    def statement(self, depth: int) -> list[Node]:
        """The next statement with what it governs."""
        self._skip_space()
        line = self._line_now()
        if self.at >= self.end:
            return []
        if depth > MOST_DEPTH:
            self.at = self.end
            return []
        if self.code[self.at] == "{":
            self.at += 1
            return [Node(kind="block", text="", line=line, body=tuple(self.block(depth + 1)))]
        word = _WORD.match(self.code, self.at, self.end)
        name = word.group() if word else ""
        if name in ("if", "for", "while", "switch"):
            self.at += len(name)
            condition = self._brackets()
            body = tuple(self.statement(depth + 1))
            kind: Kind = "for" if name == "for" else "while" if name == "while" else "if"
            return [Node(kind=kind, text=condition, line=line, body=body)]
        if name in ("else", "do"):
            self.at += len(name)
            kind = "else" if name == "else" else "block"
            return [Node(kind=kind, text="", line=line, body=tuple(self.statement(depth + 1)))]
        return [Node(kind="statement", text=self._until_end(), line=line)]

    def _brackets(self) -> str:
        opening = self.code.find("(", self.at, self.end)
        if opening < 0:
            self.at = self.end
            return ""
        closing = _closing(self.code, opening, self.end, "(", ")")
        self.at = closing + 1
        return self.code[opening + 1 : min(closing, opening + MOST_TEXT)]

    def _until_end(self) -> str:
        """To the semicolon outside of brackets, or to where the block ends."""
        begin, depth = self.at, 0
        for match in _ENDS.finditer(self.code, self.at, self.end):
            mark = match.group()
            if mark in "({[":
                depth += 1
            elif mark in ")}]":
                if mark == "}" and depth == 0:
                    self.at = match.start()
                    return self.code[begin : min(self.at, begin + MOST_TEXT)]
                depth -= 1
            elif depth <= 0:
                self.at = match.end()
                return self.code[begin : min(match.start(), begin + MOST_TEXT)]
        self.at = self.end
        return self.code[begin : begin + MOST_TEXT]

    def _skip_space(self) -> None:
        while self.at < self.end and self.code[self.at].isspace():
            self.at += 1

    def _line_now(self) -> int:
        self._line += self.code.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line


def walk(nodes: tuple[Node, ...]) -> Iterator[Node]:
    """Every node of a body, outer ones first."""
    stack = list(reversed(nodes))
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.body))


def identifiers(text: str) -> frozenset[str]:
    """The words of an expression that can be names."""
    return frozenset(re.findall(r"\b[A-Za-z_]\w*", text))
