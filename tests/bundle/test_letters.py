"""Names for the compressor: every variable another one where they meet, and the program does what it did."""

import ast

import brotli
import pytest

from fairway.bundle.letters import lettered, variables_of
from fairway.bundle.shrink import printed

PROGRAM = """
import math as mathematics
total = 3
def area(width, height, /, *, unit=1):
    def scaled(side, /):
        return side * unit * total
    return scaled(width) * scaled(height)
class Shape:
    corners = 4
    def __init__(self, sides, /):
        self.sides = [side for side in sides if side]
    def outline(self):
        try:
            return sum(side for side in self.sides) + missing
        except NameError as problem:
            return mathematics.floor(sum(self.sides)) + len(str(type(problem)))
def count(limit, /):
    seen = 0
    def step():
        nonlocal seen
        seen += 1
        return seen
    return [step() for _ in range(limit)]
RESULT = (area(2, 3, unit=5), Shape([1, 0, 2]).outline(), count(3), f"{total}{area(1, 1)!r}", Shape.corners)
"""


def forms(text: str) -> list[str]:
    tree = ast.parse(text)
    variables, taken = variables_of(tree)
    return list(lettered(printed(tree), variables, taken))


def short(text: str) -> str:
    return forms(text)[-1]


def result(text: str) -> object:
    program: dict[str, object] = {}
    exec(text, program)
    return next(value for value in program.values() if isinstance(value, tuple))


def test_a_program_with_other_letters_does_what_it_did():
    after = short(PROGRAM)
    assert {str(result(form)) for form in forms(PROGRAM)} == {str(result(PROGRAM))}
    for name in ("width", "height", "side", "total", "seen", "problem", "mathematics"):
        assert name in PROGRAM and f"{name} " not in after.replace("import math as", "")


def test_names_that_calls_pass_attributes_and_builtins_are_kept():
    after = short(PROGRAM)
    assert "unit=" in after and ".sides" in after and "range(" in after and "Zq" not in after


def test_equal_functions_get_equal_letters():
    one, two = (
        "def f(a, b, /):\n    c = a + b\n    return c * a\n",
        "def g(x, y, /):\n    z = x + y\n    return z * x\n",
    )
    lines = short(f"{one}{two}RESULT = (f(1, 2), g(1, 2))\n").splitlines()
    assert lines[0].partition("(")[2] == lines[1].partition("(")[2]


def test_the_text_is_the_same_each_time():
    assert short(PROGRAM) == short(PROGRAM)


def test_compressors_like_it_better_than_letters_by_frequency(bundled):
    import python_minifier

    source = (bundled("tiny") / "train_gpt_source.py").read_text(encoding="utf-8")
    plain = python_minifier.minify(source, rename_globals=True, remove_literal_statements=True)
    assert len(brotli.compress(short(plain).encode())) < len(brotli.compress(plain.encode()))


def test_a_program_that_looks_names_up_by_text_is_refused():
    with pytest.raises(AssertionError, match="looks names up"):
        short("x = 1\nprint(eval('x'))\n")
