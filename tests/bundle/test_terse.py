"""What the packed program does not check and does not say."""

import ast
from typing import Any

import pytest

from fairway.bundle.terse import terse

HEAD = """
class FairwayError(Exception): pass
class DataError(FairwayError): pass
class MalformedError(FairwayError): pass
SEEN = []
"""


def short(text: str) -> str:
    return ast.unparse(terse(ast.parse(HEAD + text))).partition("SEEN = []\n")[2]


def outcome(text: str, *arguments: object) -> Any:
    program: dict[str, object] = {}
    exec(HEAD + text, program)
    try:
        return program["main"](*arguments)  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001 -- whatever it raises is compared
        return type(error).__name__, str(error)


@pytest.mark.parametrize(
    "text",
    [
        "def main(x):\n    if x < 0:\n        raise ValueError(f'x must be 0 or more, got {x}')\n    return x + 1\n",
        "def main(x):\n    if x < 0 or not isinstance(x, int):\n        refuse('x')\n    return x + 1\n"
        "def refuse(what):\n    raise MalformedError(what)\n",
        "def main(x):\n    try:\n        y = int(x)\n    except ValueError as error:\n"
        "        raise MalformedError('no number') from error\n    return y + 1\n",
        "def main(x):\n    for y in [x]:\n        if y < 0:\n            raise ValueError('low')\n    return x + 1\n",
        "def main(x):\n    if not is_good(x):\n        raise ValueError('bad')\n    return x + 1\n"
        "def is_good(x):\n    y = len([x])\n    return x >= 0 and y == 1\n",
    ],
    ids=["guard", "refusal", "handler", "loop", "predicate"],
)
def test_contracts_go_and_what_is_right_stays(text):
    after = short(text)
    body = ast.parse(after).body[0]
    assert not any(isinstance(node, ast.Raise | ast.If | ast.Try | ast.For) for node in ast.walk(body))
    assert outcome(after, 3) == outcome(text, 3) == 4


@pytest.mark.parametrize(
    "text",
    [
        "def main(x):\n    if x < 0:\n        raise DataError('negative')\n    return x + 1\n",
        "def main(x):\n    if SEEN.append(x) or x < 0:\n        raise ValueError('negative')\n    return SEEN\n",
        "def main(x):\n    try:\n        return check(x)\n    except ValueError:\n        return 'none'\n"
        "def check(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x\n",
        "def main(x):\n    if x < 0:\n        SEEN.append(x)\n        raise ValueError('negative')\n    return SEEN\n",
        "def main(x):\n    if x < 0:\n        raise ValueError('negative')\n    else:\n        x += 1\n    return x\n",
    ],
    ids=["of-the-user", "test-acts", "heeded", "body-acts", "else"],
)
@pytest.mark.parametrize("x", [3, -3])
def test_what_a_user_causes_what_acts_and_what_is_heeded_stays(text, x):
    if "else" in text and x < 0:
        return  # the promise is broken: anything may happen
    before = outcome(text, x)
    assert outcome(short(text), x) == (("FairwayError", *before[1:]) if "DataError" in str(before) else before)


def test_a_message_ends_with_its_first_clause_and_keeps_the_file():
    text = "def main(path, n):\n    raise DataError(f'{path}: version is {n}, only 1 is known; see {path}')\n"
    assert outcome(short(text), "a/b.bin", 2) == ("FairwayError", "a/b.bin: version is 2")
    kept = "def main(path):\n    raise KeyError(f'{path}, all of it')\n"
    assert outcome(short(kept), "x") == outcome(kept, "x")


def test_an_error_of_opening_a_file_is_left_to_tell_itself_one_of_writing_is_not():
    opening = (
        "def main(path):\n    try:\n        return open(path)\n    except OSError as error:\n"
        "        raise DataError(f'{path}: cannot be read: {error}') from error\n"
    )
    kind, message = outcome(short(opening), "no/such/file")
    assert kind == "FileNotFoundError" and "'no/such/file'" in message
    writing = opening.replace("open(path)", "open(path).write('')")
    assert "except OSError" in short(writing)


def test_an_error_that_somebody_tells_apart_keeps_its_kind():
    text = (
        "def main(x):\n    try:\n        raise MalformedError('x')\n    except DataError:\n        return 1\n"
        "    except MalformedError:\n        return 2\n"
    )
    assert outcome(short(text), 0) == outcome(text, 0) == 2


def test_zip_is_no_longer_strict_and_dataclasses_no_longer_frozen():
    text = "@dataclass(frozen=True, slots=True, kw_only=True)\nclass A:\n    x: int\nB = list(zip(C, D, strict=True))\n"
    assert short(text) == "\n@dataclass(kw_only=True)\nclass A:\n    x: int\nB = list(zip(C, D))"
