"""The lines of a log, streamed: whatever its encoding, line ends and prefixes, and however long it is."""

import codecs
import hashlib
import re
from collections import deque
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

CHUNK_BYTES = 1 << 20
WINDOW_BYTES = 8 << 20
"""So much is read at the start and at the end of a log; no log of a run is as long."""
LONGEST_LINE = 1 << 16
"""Characters of a line that are kept; no line with a fact in it is longer."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z\\^_])")
_PREFIX = re.compile(
    r"(?:\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?\]?\s*(?:\[?(?:INFO|DEBUG)\]?:?)?[:|-]? ?"
    r"|\d{10}\.\d{1,9} |\[\d\d:\d\d:\d\d\]\s|\[(?:default|rank)?\d+\]:|\(?rank ?\d+\)?[:|] )"
)
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@runtime_checkable
class ByteStream(Protocol):
    """Whatever bytes can be read from, some at a time."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most ``size``; none at the end."""


class Lines:
    """Iterates over ``(number, line)``, numbers from 1, line ends off; afterwards it knows what went by."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.problems: list[tuple[str, int | None]] = []

    @property
    def sha256(self) -> str:
        """Of all bytes that were read."""
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[tuple[int, str]]:
        """A carriage return in the middle of a line begins it anew, as on a terminal."""
        number, rest, cut = 0, "", False
        for text, passed_over in self._decoded():
            if passed_over is not None:
                number, rest, cut = number + passed_over, "", True
            pieces = (rest + text).split("\n")
            rest = pieces.pop()
            for piece in pieces:
                number += 1
                if not cut:
                    yield number, self._one(piece, number)
                cut = False
            if len(rest) > LONGEST_LINE:
                if not cut:
                    yield number + 1, self._one(rest, number + 1)
                cut, rest = True, ""
        if rest and not cut:
            yield number + 1, self._one(rest, number + 1)

    def _one(self, text: str, number: int) -> str:
        if len(text) > LONGEST_LINE:
            self._tell(f"a line of more than {LONGEST_LINE} characters is cut", number)
            text = text[:LONGEST_LINE]
        return text.rstrip("\r").rsplit("\r", 1)[-1] if "\r" in text else text

    def _decoded(self) -> Iterator[tuple[str, int | None]]:
        """Pieces of text, each with the number of line ends passed over before it, None where nothing was."""
        encoding, skip = "utf-8", 0
        decoder = codecs.getincrementaldecoder(encoding)("replace")
        for place, (chunk, passed_over) in enumerate(self._chunks()):
            if place == 0:
                mark, encoding = next(((bom, name) for bom, name in _BOMS if chunk.startswith(bom)), (b"", "utf-8"))
                skip = len(mark)
            if place == 0 or passed_over is not None:
                decoder = codecs.getincrementaldecoder(encoding)("replace")
            text = decoder.decode(chunk[skip:])
            skip = 0
            if "\ufffd" in text:
                self._tell(f"is not {encoding.upper()} throughout", None)
            if "\0" in text:
                self._tell("holds null bytes", None)
                text = text.replace("\0", "")
            yield text, passed_over
        yield decoder.decode(b"", final=True), None

    def _chunks(self) -> Iterator[tuple[bytes, int | None]]:
        """The first and the last ``WINDOW_BYTES``; what lies between is hashed, and its line ends are counted."""
        tail: deque[bytes] = deque()
        held, lost_bytes, lost_lines = 0, 0, 0
        while chunk := self._stream.read(CHUNK_BYTES):
            self._hash.update(chunk)
            self.size_bytes += len(chunk)
            if self.size_bytes <= WINDOW_BYTES:
                yield chunk, None
                continue
            tail.append(chunk)
            held += len(chunk)
            while held - len(tail[0]) >= WINDOW_BYTES:
                lost = tail.popleft()
                held -= len(lost)
                lost_bytes += len(lost)
                lost_lines += lost.count(b"\n")
        if lost_bytes:
            self._tell(f"has {self.size_bytes:,} bytes, of which {lost_bytes:,} in the middle are not read", None)
        for place, chunk in enumerate(tail):
            yield chunk, lost_lines if lost_bytes and place == 0 else None

    def _tell(self, message: str, line: int | None) -> None:
        if all(message != known for known, _ in self.problems):
            self.problems.append((message, line))


def bare(line: str) -> str:
    """A line without colours and without what a launcher puts before it (time, rank)."""
    if "\x1b" in line:
        line = _ESCAPES.sub("", line)
    prefix = _PREFIX.match(line)
    while prefix is not None and prefix.end() > 0:
        line = line[prefix.end() :]
        prefix = _PREFIX.match(line)
    return line
