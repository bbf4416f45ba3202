"""What a recipe never takes is not in its program, and what it takes is."""

import ast
from collections.abc import Callable
from dataclasses import replace

import pytest

from fairway.bundle.collect import Collected, Section, collect
from fairway.bundle.specialise import specialise
from fairway.recipes.load import load_recipe
from fairway.spec.model import NoLoops, OneLane
from fairway.spec.recipe import Recipe
from fairway.spec.score import Flat

POCKET = load_recipe("pocket").recipe
PLAIN = replace(
    POCKET,
    model=replace(POCKET.model, loops=NoLoops(), lanes=OneLane()),
    train=replace(POCKET.train, batching="contiguous"),
    score=replace(POCKET.score, method=Flat()),
)
CALL = "RECIPE = Recipe()\nlaunch(Program(RECIPE), [])\n"

SPECS = """
class NoLoops:
    kind: str = "none"

class Loops:
    first: int
    extra: int = 2

class ModelSpec:
    layers: int
    ln_scale: bool
    loops: NoLoops | Loops

class Recipe:
    model: ModelSpec
"""


def of_text(text: str, recipe: Recipe, call: str) -> str:
    """The program of a text in one section beside the given classes."""
    program = Collected((Section("specs", "", SPECS), Section("main", "", text)), {})
    return specialise(program, recipe, call).sections[1].text


@pytest.fixture(scope="module")
def names() -> Callable[[Recipe], set[str]]:
    """Names that a recipe's program defines at its top level."""
    whole = collect("fairway.launch")

    def defined(recipe: Recipe) -> set[str]:
        program = specialise(whole, recipe, CALL)
        tree = ast.parse("\n".join(section.text for section in program.sections))
        return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}

    return defined


def test_pocket_keeps_its_mechanisms_and_loses_the_others(names):
    program = names(POCKET)
    assert {"Loops", "TwoLanes", "two_lanes", "LateReplay", "replay_late", "PhasedEvaluator", "LoraBank"} <= program
    assert {"FlatEvaluator", "PackedBatches", "gptq", "hadamard_rotation", "Referee", "Ledger"} <= program
    unused = {"NoLoops", "OneLane", "NoReplay", "Nearest", "Sliding", "SlidingEvaluator", "ContiguousBatches"}
    unused |= {"HubCorpus", "LocalCorpus", "EmbeddedCorpus", "DataSpec", "Lineage", "forecast", "ShardWriter"}
    unused |= {"packed_attention", "read_events", "_with_longer_bounds", "sliding_windows"}
    assert not program & unused


def test_a_plain_recipe_loses_the_mechanisms_of_pocket(names):
    program = names(PLAIN)
    assert {"FlatEvaluator", "ContiguousBatches", "one_lane"} <= program
    gone = {"Loops", "TwoLanes", "two_lanes", "PhasedEvaluator", "LoraEvaluator", "LoraBank", "LoraAdamW"}
    assert not program & (gone | {"PackedBatches", "segment_bounds", "cosine_rate"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "def f(spec: ModelSpec):\n    if isinstance(spec.loops, Loops):\n        # why\n        return 1\n"
            "    return 2\n",
            "def f(spec: ModelSpec):\n    # why\n    return 1\n",
        ),
        (
            "def f(spec: ModelSpec):\n    if isinstance(spec.loops, NoLoops):\n        return 1\n    return 2\n",
            "def f(spec: ModelSpec):\n    return 2\n",
        ),
        (
            "def f(spec: ModelSpec, x: int):\n    if x:\n        return 0\n    elif spec.ln_scale:\n        return 1\n"
            "    else:\n        return 2\n",
            "def f(spec: ModelSpec, x: int):\n    if x:\n        return 0\n    else:\n        return 1\n",
        ),
        (
            "def f(spec: ModelSpec, x: int):\n    if not spec.ln_scale:\n        return 0\n    elif x:\n"
            "        return 1\n",
            "def f(spec: ModelSpec, x: int):\n    if x:\n        return 1\n",
        ),
        (
            "def f(spec: ModelSpec, x: int):\n    while x and isinstance(spec.loops, Loops):\n        x -= 1\n",
            "def f(spec: ModelSpec, x: int):\n    while x:\n        x -= 1\n",
        ),
        (
            "def f(spec: ModelSpec):\n    two = isinstance(spec.loops, Loops)\n    return g(1 if two else 2)\n",
            "def f(spec: ModelSpec):\n    return g(1)\n",
        ),
        (
            "def f(loops: NoLoops | Loops):\n    match loops:\n        case NoLoops():\n            return 0\n"
            "        case Loops():\n            return loops.extra\n",
            "def f(loops: Loops):\n    return loops.extra\n",
        ),
        (
            "def f(spec: ModelSpec, x: bool):\n    if x:\n        return spec.layers\n    return 0\n",
            "def f(spec: ModelSpec, x: bool):\n    if x:\n        return spec.layers\n    return 0\n",
        ),
        (
            "def f(spec: ModelSpec):\n    on = True\n\n    def g():\n        nonlocal on\n        on = False\n\n"
            "    g()\n    return 1 if on else 2\n",
            "def f(spec: ModelSpec):\n    on = True\n\n    def g():\n        nonlocal on\n        on = False\n\n"
            "    g()\n    return 1 if on else 2\n",
        ),
    ],
    ids=["if", "if-not", "elif", "elif-first", "and", "local", "match", "open", "nonlocal"],
)
def test_a_test_that_the_recipe_settles_leaves_the_branch_that_runs(text, expected):
    assert of_text(text, POCKET, "f(RECIPE.model)\n").strip() == expected.strip()


def test_a_class_that_the_program_makes_itself_occurs_though_the_recipe_holds_none():
    text = (
        "def f(spec: ModelSpec):\n    return isinstance(g(), NoLoops)\n\n\n"
        "def g() -> NoLoops | Loops:\n    return NoLoops()\n"
    )
    assert of_text(text, POCKET, "f(RECIPE.model)\n") == text


def test_classes_that_a_constant_lists_are_not_known_by_its_name():
    text = (
        "KINDS = (NoLoops, Loops)\n\n\n"
        "def f(spec: ModelSpec):\n    assert isinstance(spec.loops, KINDS)\n    return spec.loops\n"
    )
    assert of_text(text, POCKET, "f(RECIPE.model)\n") == text


def test_a_field_of_a_named_tuple_that_nobody_sets_or_reads_goes():
    text = (
        "class Both(NamedTuple):\n    a: int\n    b: int | None = None\n    c: int | None = None\n    # about c\n\n\n"
        "def f(spec: ModelSpec):\n    made = Both(a=1)\n    if spec.ln_scale:\n        made = made._replace(b=2)\n"
        "    else:\n        made = made._replace(c=2)\n    return made.a\n"
    )
    settled = of_text(text, POCKET, "f(RECIPE.model)\n")
    assert "b: int | None = None" in settled and "c: int" not in settled


def test_text_inside_strings_keeps_its_indentation_when_code_around_it_moves():
    text = (
        'def f(spec: ModelSpec):\n    if spec.ln_scale:\n        x = """\n        deep\n        """\n        return x\n'
    )
    moved = of_text(text, POCKET, "f(RECIPE.model)\n")
    assert moved == 'def f(spec: ModelSpec):\n    x = """\n        deep\n        """\n    return x\n'


@pytest.mark.parametrize("name", ["baseline", "checkpoint-lab", "pocket", "tiny"])
def test_a_definition_in_the_readable_program_is_named_somewhere(bundled, name):
    tree = ast.parse((bundled(name) / "train_gpt_source.py").read_text(encoding="utf-8"))
    named = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and isinstance(node.annotation, ast.Constant):
            named.add(str(node.annotation.value))
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Constant):
            named.add(str(node.returns.value))
    tops = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert tops - named == set()
