"""JSON of strangers: what can be read is read, and what is not as it must be is said with its line.

RFC 8259 has no byte-order mark, no NaN, no second value and no meaning for a key that stands twice; files of strangers
have all of them. The result says whether the file is JSON at all apart from what was found in it.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from fairway.verify.strict_json import Written

DEEPEST = 64
"""Nesting beyond which nothing is read: no claim needs it, and recursion has limits."""

LONGEST_INTEGER = 20
"""Digits of the largest integer that is read as a number."""

_OPENING = re.compile(r'"(?:[^"\\\n]|\\.)*"|[\[{]|[\]}]')
_CONSTANT = re.compile(r'"(?:[^"\\\n]|\\.)*"|-?Infinity|NaN')
_BYTE_ORDER_MARK = "\ufeff"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lenient:
    """What a text holds."""

    value: Any
    """None where nothing could be read; a number that does not fit is None as well."""
    parses: bool
    """Whether the text is one JSON value to a reader that keeps to the standard."""
    problems: tuple[tuple[str, int | None], ...]
    """What is not as it must be, with its line from 1."""


class _Reader:
    """The hooks of one reading, and what they saw."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.problems: list[tuple[str, int | None]] = []

    def constant(self, name: str) -> None:
        """NaN and its like are no numbers."""
        self.problems.append((f"{name} is not JSON", self._line_of_constant(name)))

    def integer(self, text: str) -> int | None:
        """An integer, None where it has more digits than any quantity of a claim."""
        if len(text.lstrip("-")) > LONGEST_INTEGER:
            at = self.text.find(text[:LONGEST_INTEGER])
            self.problems.append((f"the integer {text[:12]}... has {len(text)} digits", line_at(self.text, at)))
            return None
        return int(text)

    def real(self, text: str) -> float | None:
        """A real number, None where it is too large for one."""
        try:
            return Written(text)
        except ValueError:
            self.problems.append((f"the number {text[:40]} is too large", line_at(self.text, self.text.find(text))))
            return None

    def pairs(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object; of a key that stands twice the last value counts, as with most readers."""
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            for name in sorted(name for name in found if names.count(name) > 1):
                self.problems.append((f"the key {shown(name)} stands twice in one object", self._second(name)))
        return found

    def _second(self, name: str) -> int | None:
        key = json.dumps(name, ensure_ascii=False)
        first = self.text.find(key)
        return line_at(self.text, self.text.find(key, first + 1)) if first >= 0 else None

    def _line_of_constant(self, name: str) -> int | None:
        return next((line_at(self.text, m.start()) for m in _CONSTANT.finditer(self.text) if m.group() == name), None)


def parse(data: bytes) -> Lenient:
    """The value that ``data`` holds, as far as one can be read; never an exception."""
    problems: list[tuple[str, int | None]] = []
    text = data.decode("utf-8", "replace")
    if not _is_utf8(data):
        at = len(data[: _first_bad(data)].decode("utf-8", "replace"))
        problems.append(("is not UTF-8", line_at(text, at)))
    parses = not problems
    if text.startswith(_BYTE_ORDER_MARK):
        problems.append(("begins with a byte-order mark", 1))
        text, parses = text.removeprefix(_BYTE_ORDER_MARK), False
    if "\x00" in text:
        problems.append(("holds a null byte", line_at(text, text.index("\x00"))))
    deep = too_deep(text)
    if deep is not None:
        problems.append((f"is nested deeper than {DEEPEST} levels", line_at(text, deep)))
        return Lenient(value=None, parses=False, problems=tuple(problems))
    reader = _Reader(text)
    decoder = json.JSONDecoder(
        parse_float=reader.real,
        parse_int=reader.integer,
        parse_constant=reader.constant,
        object_pairs_hook=reader.pairs,
    )
    start = len(text) - len(text.lstrip(" \t\r\n"))
    try:
        value, end = decoder.raw_decode(text, start)
    except json.JSONDecodeError as error:
        problems.append((f"is no JSON: {error.msg}", error.lineno))
        return Lenient(value=None, parses=False, problems=(*problems, *reader.problems))
    rest = text[end:].lstrip(" \t\r\n")
    if rest:
        problems.append(("goes on after its value", line_at(text, len(text) - len(rest))))
    lonely = _has_surrogate(value)
    if lonely:
        problems.append(("holds a lone surrogate, which is no character", None))
    constants = any(message.endswith("is not JSON") for message, _ in reader.problems)
    return Lenient(value=value, parses=parses and not rest and not constants, problems=(*problems, *reader.problems))


def too_deep(text: str) -> int | None:
    """Where ``text`` opens one array or object more than ``DEEPEST`` inside one another; None where it does not."""
    depth = 0
    for match in _OPENING.finditer(text):
        if match.group() in "[{":
            depth += 1
            if depth > DEEPEST:
                return match.start()
        elif match.group() in "]}":
            depth -= 1
    return None


def line_at(text: str, at: int) -> int | None:
    """The line of a position, from 1; None where there is no such position."""
    return text.count("\n", 0, at) + 1 if at >= 0 else None


def shown(value: object, most: int = 60) -> str:
    """A value of a stranger in one printable line."""
    text = ascii(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _first_bad(data: bytes) -> int:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return len(data)


def _has_surrogate(value: Any) -> bool:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str) and any("\ud800" <= character <= "\udfff" for character in item):
            return True
        if isinstance(item, dict):
            waiting.extend(item.keys())
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return False
