"""What is used once is taken in, and the program does what it did, in the order in which it did it."""

import ast

import pytest

from fairway.bundle.inline import inlined

HEAD = """
import math
SEEN = []
def note(value):
    if value is not None:
        SEEN.append(value)
    return value
class Box:
    def __init__(self):
        self.height = 1
    def grow(self):
        self.height += 1
        return self.height
"""
CALL = "if __name__ == '__main__':\n    RESULT = (main(3), note(0), note(0), Box().grow(), Box().grow())\n"


def taken_in(text: str) -> str:
    return ast.unparse(inlined(ast.parse(HEAD + text + CALL)))


def outcome(text: str) -> tuple[object, object]:
    program: dict[str, object] = {"__name__": "__main__"}
    exec(text, program)
    return program["RESULT"], program["SEEN"]


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("def main(x):\n    y = x + 1\n    return math.sqrt(y)\n", "y ="),
        ("def main(x):\n    y = note(x)\n    z = [y, note(2)]\n    return z\n", "y ="),
        ("def main(x):\n    y = x > 1\n    if y:\n        return 1\n    return 2\n", "y ="),
        ("def main(x):\n    y = range(x)\n    for z in y:\n        note(z)\n", "y ="),
        ("def twice(a):\n    return a + a\ndef main(x):\n    return twice(note(x))\n", "twice"),
        (
            "def add(a, b):\n    c = note(a)\n    return c + b\ndef main(x):\n    c = 5\n    return c + add(x, c)\n",
            "add",
        ),
        ("def say(a):\n    note(a)\n    note(a)\ndef main(x):\n    say(x)\n    return x\n", "say"),
        (
            "def pick(a):\n    if a > 2:\n        return note(a)\n    return 0\ndef main(x):\n    return pick(x)\n",
            "pick",
        ),
        (
            "class Line:\n    def __init__(self, a):\n        self.length = a\n    def doubled(self):\n"
            "        return self.length * 2\ndef main(x):\n    it = Line(x)\n    return (it.doubled(), it.length)\n",
            "doubled",
        ),
    ],
    ids=["call", "first", "test", "loop", "twice", "captured", "procedure", "tail", "method"],
)
def test_what_is_used_once_is_taken_in_and_nothing_else_changes(text, gone):
    after = taken_in(text)
    assert gone in text and gone not in after
    assert outcome(after) == outcome(HEAD + text + CALL)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("def main(x):\n    y = note(x)\n    z = note(2) + y\n    return z\n", "y ="),
        ("def main(x):\n    y = note(x)\n    note(9)\n    return y\n", "y ="),
        ("def main(x):\n    y = note(x)\n    return [y for _ in range(2)]\n", "y ="),
        ("def main(x):\n    y = note(x)\n    return x > 5 and y\n", "y ="),
        ("def main(x):\n    y = note(x)\n    return (lambda: y)()\n", "y ="),
        ("def main(x):\n    y = note(x)\n    while y < 9:\n        y = y + note(4)\n    return y\n", "y ="),
        ("def main(x):\n    box = Box()\n    y = box.grow()\n    return (box.height, y, box)[:2]\n", "y ="),
        ("def twice(a):\n    return a + a\ndef main(x):\n    return [twice, twice(x)][1]\n", "twice"),
        ("def down(a):\n    return 0 if a < 1 else down(a - 1)\ndef main(x):\n    return down(x)\n", "down"),
        ("def each(a):\n    yield note(a)\ndef main(x):\n    return list(each(x))\n", "each"),
        ("def pick(a):\n    if a > 2:\n        return 7\n    return 0\ndef main(x):\n    return 1 + pick(x)\n", "pick"),
        ("def late(a):\n    return note(a) + 1\ndef main(x):\n    return note(5) + late(x)\n", "late"),
        ("def main(x):\n    return far(x)\ndef far(a):\n    return note(a) + math.pi\n", "math.pi"),
    ],
    ids=[
        *(
            "behind-an-act",
            "later",
            "in-a-comprehension",
            "perhaps",
            "late",
            "bound-twice",
            "field-before",
            "handed-on",
        ),
        *("recursive", "generator", "returns-twice", "call-behind-an-act", "global"),
    ],
)
def test_what_could_change_order_or_meaning_stays(text, kept):
    after = taken_in(text)
    assert kept in after
    assert outcome(after) == outcome(HEAD + text + CALL)


def test_a_local_that_hides_a_name_of_the_function_keeps_it_apart():
    text = (
        "SCALE = 10\ndef scaled(a):\n    return a * SCALE\ndef main(x):\n    SCALE = 2\n    return scaled(x) + SCALE\n"
    )
    after = taken_in(text)
    assert "def scaled" in after
    assert outcome(after) == outcome(HEAD + text + CALL)
