"""The table of documents (``documents.tsv``): an independent count of text, and who is on which side of the split.

One line a document in the order of the stream: split (``train`` or ``val``), SHA-256 of its UTF-8 text, its tokens
with BOS, its bytes of UTF-8 text; separated by tabs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from fairway.verify import strict_json

LIMIT_BYTES = 2_000_000_000
_LINE = re.compile(r"(train|val)\t([0-9a-f]{64})\t([1-9][0-9]{0,17})\t(0|[1-9][0-9]{0,17})")


@dataclass(frozen=True, slots=True)
class Document:
    """One line of the table."""

    split: str
    sha256: str
    tokens: int
    text_bytes: int
    line: int


@dataclass(frozen=True, slots=True)
class Documents:
    """All lines, in order."""

    file: str
    rows: tuple[Document, ...]

    def of(self, split: str) -> tuple[Document, ...]:
        """The documents of one side of the split, in order."""
        return tuple(row for row in self.rows if row.split == split)


def read_documents(path: Path, file: str) -> Documents:
    """The table that ``path`` holds; ``ValueError`` names the line that is none of it."""
    rows = []
    text = strict_json.read_text(path, LIMIT_BYTES)
    lines = text.split("\n")
    if lines.pop() != "":
        raise ValueError(f"line {len(lines) + 1}: has no line feed: truncated")
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"line {number}: not split, sha256, tokens and text bytes with tabs between: {line[:60]!r}"
            )
        rows.append(Document(match[1], match[2], int(match[3]), int(match[4]), number))
    return Documents(file, tuple(rows))


def document_starts(documents: Sequence[Document]) -> list[int]:
    """Position of each document's BOS in the stream, and at the end the stream's length."""
    return list(accumulate((document.tokens for document in documents), initial=0))
