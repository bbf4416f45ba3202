"""Python source as text with a tree over it: what a pass wants changed it says by node, and the rest stays as written.

Sources are laid out by the formatter: a statement begins and ends a line. So statements are edited line by line and
expressions by character, comments stay where they are, and one that stands right above a statement goes with it.
"""

import ast
import io
import tokenize
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Block = list[ast.stmt]


class Region(NamedTuple):
    """Lines ``first..last`` of a text, counted from 1, both included."""

    first: int
    last: int


class Source:
    """A text, its tree, and the changes that are asked for; ``edited`` is the text with all of them.

    A change inside a region that another change has taken is dropped: the next round of a pass finds it again.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.tree = ast.parse(text)
        self.lines = text.splitlines(keepends=True)
        self._starts = [0]
        for line in self.lines:
            self._starts.append(self._starts[-1] + len(line))
        self._changes: list[tuple[int, int, str]] = []
        self._removed: set[int] = set()

    def offset(self, line: int, column: int) -> int:
        """Characters before a place that the tree gives in lines and UTF-8 bytes."""
        return self._starts[line - 1] + len(self.lines[line - 1].encode()[:column].decode())

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where an expression or statement begins and ends, in characters."""
        assert node.end_lineno is not None and node.end_col_offset is not None
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno, node.end_col_offset)

    def segment(self, node: ast.expr | ast.stmt) -> str:
        """The text of a node."""
        start, end = self.span(node)
        return self.text[start:end]

    def replace(self, node: ast.expr | ast.stmt, text: str) -> None:
        """Put ``text`` in the place of a node."""
        self.change(*self.span(node), text)

    def change(self, start: int, end: int, text: str) -> None:
        """Put ``text`` in the place of characters ``start..end-1``, unless some of them are taken."""
        if all(end <= taken or start >= taken_end for taken, taken_end, _ in self._changes):
            self._changes.append((start, end, text))

    def region(self, node: ast.stmt) -> Region:
        """Lines of a statement, with its decorators and the comments right above it."""
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        while first > 1 and self.lines[first - 2].strip().startswith("#"):
            first -= 1
        assert node.end_lineno is not None
        return Region(first, node.end_lineno)

    def put(self, region: Region, lines: Sequence[str]) -> None:
        """Put whole lines in the place of others."""
        self.change(self._starts[region.first - 1], self._starts[region.last], "".join(lines))

    def remove(self, nodes: Sequence[ast.stmt], block: Block) -> None:
        """Take statements out of the block that holds them; ``pass`` stands where nothing else is left."""
        # statements of a block may go one call after the other
        self._removed |= set(map(id, nodes))
        kept = [node for node in block if id(node) not in self._removed]
        needs_pass = not kept and block is not self.tree.body
        for place, node in enumerate(nodes):
            lines = [" " * node.col_offset + "pass\n"] if needs_pass and place == 0 else []
            self.put(self.region(node), lines)

    def unwrap(self, region: Region, body: Region, indent: int) -> None:
        """Put the lines of ``body``, moved left to ``indent``, in the place of ``region``."""
        inside = _lines_inside_strings(self.text)
        lines = [(number, self.lines[number - 1]) for number in range(body.first, body.last + 1)]
        depth = min(len(line) - len(line.lstrip()) for _, line in lines if line.strip()) - indent
        assert depth >= 0, (region, body, indent)
        self.put(region, [line if number in inside or not line.strip() else line[depth:] for number, line in lines])

    def suite(self, block: Block, stop: int) -> Region:
        """Lines of a block, with comments above its first statement; it ends before line ``stop``."""
        first = self.region(block[0]).first
        return Region(first, stop - 1)

    def edited(self) -> str:
        """The text with every change made."""
        pieces, at = [], 0
        for start, end, text in sorted(self._changes):
            pieces += [self.text[at:start], text]
            at = end
        return "".join([*pieces, self.text[at:]])


def blocks(tree: ast.AST) -> Iterator[tuple[ast.AST, Block]]:
    """Every list of statements under a tree, with its owner; outer ones first."""
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                yield node, block


def docstring_of(block: Block, index: int) -> ast.Expr | None:
    """The bare string right after a statement: what documents a constant or a field."""
    following = block[index + 1] if index + 1 < len(block) else None
    if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
        if isinstance(following.value.value, str):
            return following
    return None


def _lines_inside_strings(text: str) -> set[int]:
    """Numbers of lines that begin inside a string token: their blanks are data."""
    inside: set[int] = set()
    opened: list[int] = []
    names = tokenize.tok_name
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = names[token.type]
        if kind == "FSTRING_START":
            opened.append(token.start[0])
        elif kind == "FSTRING_END":
            inside.update(range(opened.pop() + 1, token.end[0] + 1))
        elif kind == "STRING":
            inside.update(range(token.start[0] + 1, token.end[0] + 1))
    return inside
