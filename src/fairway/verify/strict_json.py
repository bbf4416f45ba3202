"""JSON as evidence: no NaN, no duplicate keys, no number that does not fit, and one canonical form."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any, NoReturn


class Written(float):
    """A number that remembers how it was written, so that a rounded claim can be compared at its own precision."""

    text: str

    def __new__(cls, text: str) -> "Written":
        """The finite number that ``text`` says; ``ValueError`` where it is too large."""
        number = super().__new__(cls, text)
        if not math.isfinite(number):
            raise ValueError(f"the number {text[:40]} is not finite")
        number.text = text
        return number

    def __reduce__(self) -> tuple[type["Written"], tuple[str]]:
        """Made again from its text in another process."""
        return Written, (self.text,)


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError(f"the integer {text[:20]}... has {len(text)} digits")
    return int(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:60]!r} stands twice in one object")
    return found


_DECODER = json.JSONDecoder(
    parse_float=Written, parse_int=_integer, parse_constant=_refuse_constant, object_pairs_hook=_no_duplicates
)


def parse(text: str) -> Any:
    """The value that ``text`` holds; ``ValueError`` says in one line why it holds none."""
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}" if "\n" in text.rstrip("\n") else f"column {error.colno}"
        raise ValueError(f"not JSON ({error.msg} at {where})") from error
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def read_text(path: Path, limit_bytes: int) -> str:
    """The text of a file; ``ValueError`` if it is too large, not UTF-8 or cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(limit_bytes + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or type(error).__name__}") from error
    if len(data) > limit_bytes:
        raise ValueError(f"larger than {limit_bytes} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 (byte {error.start})") from error


def canonical(value: Any) -> bytes:
    """The one spelling of a value that hashes are taken of: sorted keys, no blanks, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def sha256_of(value: Any) -> str:
    """SHA-256 of the canonical form."""
    return hashlib.sha256(canonical(value)).hexdigest()


def is_integer(value: object) -> bool:
    """Whether ``value`` is a whole number of JSON; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether ``value`` is a finite number of JSON."""
    return is_integer(value) or (isinstance(value, float) and math.isfinite(value))
