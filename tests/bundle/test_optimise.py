"""Constants in the place of what never varies; the program computes what it did."""

import ast
from dataclasses import replace

import pytest

from fairway.bundle.optimise import optimised, positional
from fairway.recipes.load import load_recipe

RECIPE = load_recipe("pocket").recipe

SPECS = """
from dataclasses import dataclass, replace

@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    layers: int
    width: int

@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    budget_s: float
    steps: int

@dataclass(frozen=True, kw_only=True)
class Recipe:
    model: ModelSpec
    train: TrainSpec
"""
CALL = """
RECIPE = Recipe(model=ModelSpec(layers=5, width=128), train=TrainSpec(budget_s=300.0, steps=500))
if __name__ == "__main__":
    RESULT = main(RECIPE)
"""


def short(text: str) -> str:
    tree = optimised(ast.parse(SPECS + text + CALL), RECIPE, frozenset())
    positional(tree)
    return ast.unparse(ast.fix_missing_locations(tree))


def result(text: str) -> object:
    program: dict[str, object] = {"__name__": "__main__"}
    exec(text, program)
    return program["RESULT"]


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        (
            "def main(recipe: Recipe):\n    spec = recipe.model\n    return scaled(spec, 2)\n\n"
            "def scaled(spec: ModelSpec, by: int):\n    return spec.layers * by if spec.width > 1 else 0\n",
            ["spec", "ModelSpec", "by", "width"],
        ),
        (
            "def main(recipe: Recipe):\n    return shown(recipe.train.steps, log=None)\n\n"
            "def shown(steps: int, *, log: str | None):\n    return steps if log is None else log\n",
            ["log", "TrainSpec", "else"],
        ),
        (
            "class Walker:\n    def __init__(self, spec: ModelSpec, *, stride: int):\n        self._spec = spec\n"
            "        self._stride = stride\n\n    def far(self, *, times: int):\n"
            "        return self._stride * times + self._spec.layers\n\n"
            "def main(recipe: Recipe):\n    return Walker(recipe.model, stride=3).far(times=recipe.model.width)\n",
            ["_spec", "stride=", "times="],
        ),
        (
            "def main(recipe: Recipe):\n    found = []\n    visit(found, deep=True)\n    visit(found, deep=False)\n"
            "    return found\n\ndef visit(found: list, *, deep: bool):\n    found.append(1 if deep else 2)\n",
            ["deep="],
        ),
    ],
    ids=["fields", "none", "attributes", "keywords"],
)
def test_what_never_varies_is_gone_and_the_result_is_the_same(text, gone):
    shorter = short(text)
    assert result(shorter) == result(SPECS + text + CALL)
    assert [word for word in gone if word in shorter.replace("RECIPE", "")] == []


@pytest.mark.parametrize(
    "text",
    [
        "def main(recipe: Recipe):\n    recipe = replace(recipe, train=replace(recipe.train, budget_s=7.0))\n"
        "    return recipe.train.budget_s + recipe.train.steps\n",
        "def main(recipe: Recipe):\n    return list(map(twice, [1, 2]))\n\ndef twice(x: int, by: int = 2):\n"
        "    return x * by\n",
        "def main(recipe: Recipe):\n    return twice(*[3], **{'by': 5})\n\ndef twice(x: int, by: int = 2):\n"
        "    return x * by\n",
        "def main(recipe: Recipe):\n    order = []\n    take(b=order.append('b'), a=order.append('a'))\n"
        "    return order\n\ndef take(a: object, b: object):\n    return a, b\n",
        "def main(recipe: Recipe):\n    def steps(by: int):\n        nonlocal at\n        at = at + by\n"
        "        return at\n\n    at = 1\n    return [steps(2), steps(2), at]\n",
        "def main(recipe: Recipe):\n    layers = recipe.model.layers\n    for layers in range(2):\n        pass\n"
        "    return layers\n",
        "def main(recipe: Recipe):\n    try:\n        return refuse(recipe.model.width)\n"
        "    except ValueError as error:\n        return str(error)\n\ndef refuse(width: int):\n"
        "    raise ValueError(f'width must be below {width}, got {width!r}')\n",
    ],
    ids=["replaced", "handed-on", "unpacked", "order", "nonlocal", "loop", "message"],
)
def test_what_is_not_known_in_full_stays_and_the_result_is_the_same(text):
    assert result(short(text)) == result(SPECS + text + CALL)


def test_a_field_that_the_recipe_does_not_settle_is_no_constant():
    other = replace(RECIPE, model=replace(RECIPE.model, layers=7, xsa_last=0))
    text = "def main(recipe: Recipe):\n    return recipe.model.layers\n"
    tree = optimised(ast.parse(SPECS + text + CALL), other, frozenset())
    assert "return 7" in ast.unparse(tree)
