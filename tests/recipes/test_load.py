import json
import re

import pytest

from fairway.errors import RecipeError
from fairway.recipes.load import leaves, load_recipe, plain, read_resolved, write_resolved
from fairway.recipes.locate import find_recipe, recipe_names
from fairway.spec.model import NoLoops, TwoLanes
from fairway.spec.score import Flat


def complaint_of(path) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_of_the_folder_loads_and_says_where_each_value_comes_from(name):
    resolved = load_recipe(name)
    assert resolved.recipe.name == name
    assert list(resolved.origin) == list(leaves(plain(resolved.recipe)))
    assert set(resolved.origin.values()) <= {*resolved.recipe.lineage.parents, name, "default"}


def test_a_delta_changes_its_keys_and_inherits_the_others_with_their_origin(write):
    resolved = load_recipe(write("[quant.mlp]\nclip_sigmas = 10.0\n"))
    assert resolved.recipe.quant.mlp.clip_sigmas == 10.0
    assert resolved.recipe.quant.mlp.bits == load_recipe("baseline").recipe.quant.mlp.bits
    assert resolved.origin["quant.mlp.clip_sigmas"] == "wide"
    assert resolved.origin["quant.mlp.bits"] == "baseline"
    assert resolved.origin["quant.mlp.scale_floor"] == "default"
    assert resolved.recipe.lineage.parents == ("baseline",)
    assert resolved.recipe.lineage.because == "a test"


def test_parents_are_found_beside_the_recipe_before_the_folder(write):
    write("[quant.mlp]\nclip_sigmas = 9.0\n", name="middle")
    resolved = load_recipe(write("", name="leaf", extends="middle"))
    assert resolved.recipe.lineage.parents == ("middle", "baseline")
    assert resolved.origin["quant.mlp.clip_sigmas"] == "middle"


def test_another_kind_drops_the_parents_keys_of_the_old_kind(write):
    resolved = load_recipe(write('[model]\nloops = { kind = "none" }\n[score.method]\nkind = "flat"\n'))
    assert resolved.recipe.model.loops == NoLoops()
    assert resolved.recipe.score.method == Flat()
    assert resolved.origin["model.loops.kind"] == "wide"
    assert not [
        path
        for path in resolved.history
        if path.startswith(("model.loops.", "score.method.")) and not path.endswith(".kind")
    ]


def test_the_same_kind_keeps_the_parents_keys(write):
    resolved = load_recipe(write("[model]\nlanes = { start = 7 }\n"))
    assert resolved.recipe.model.lanes == TwoLanes(start=7)
    assert resolved.origin["model.lanes.kind"] == "baseline"


def test_unset_brings_the_default_back(write):
    middle = write("[train]\nsteps = 5\n", name="middle")
    assert load_recipe(middle).recipe.train.steps == 5
    resolved = load_recipe(write('unset = ["train.steps"]\n', name="leaf", extends="middle"))
    assert resolved.recipe.train.steps is None
    assert resolved.origin["train.steps"] == "default"


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "[model]\nwidht = 640\n",
            "recipe wide: model.widht = 640 is not a key (set by wide); did you mean model.width?",
        ),
        (
            "[quant.mlp]\nfoo_bar_baz = 1\n",
            "recipe wide: quant.mlp.foo_bar_baz = 1 is not a key (set by wide);"
            " known here: kind, bits, clip_sigmas, scale_floor",
        ),
        (
            "[modle]\nwidth = 640\n",
            "recipe wide: modle is not a key (set by wide); did you mean model?",
        ),
        (
            '[quant.mlp]\nbits = "6"\n',
            'recipe wide: quant.mlp.bits must be an integer, got "6" (set by wide, was 6 in baseline)',
        ),
        (
            "[quant.mlp]\nbits = true\n",
            "recipe wide: quant.mlp.bits must be an integer, got true (set by wide, was 6 in baseline)",
        ),
        (
            "[quant.mlp]\nbits = 6.5\n",
            "recipe wide: quant.mlp.bits must be an integer, got 6.5 (set by wide, was 6 in baseline)",
        ),
        (
            "[quant.mlp]\nbits = 9\n",
            "recipe wide: quant.mlp.bits must be 2..8, got 9 (set by wide, was 6 in baseline)",
        ),
        (
            "[train]\nbudget_s = inf\n",
            "recipe wide: train.budget_s must be a number, got inf (set by wide, was 600.0 in baseline)",
        ),
        (
            "[train]\nsteps = 1979-05-27\n",
            "recipe wide: train.steps must be an integer, got 1979-05-27 (set by wide)",
        ),
        (
            'seeds = [1, "two"]\n',
            'recipe wide: seeds must be a list of integers, got [1, "two"]'
            " (set by wide, was [42, 1337, 2024] in baseline)",
        ),
        (
            "seeds = []\n",
            "recipe wide: seeds must be distinct and at least one, got []"
            " (set by wide, was [42, 1337, 2024] in baseline)",
        ),
        (
            "model = 3\n",
            "recipe wide: model must be a table, got 3 (set by wide)",
        ),
        (
            '[train]\nbatching = "paked"\n',
            'recipe wide: train.batching must be one of packed, contiguous, shuffled, strided, got "paked"'
            ' (set by wide, was "packed" in baseline)',
        ),
        (
            '[model.loops]\nkind = "loop"\n',
            'recipe wide: model.loops.kind must be one of none, loops, got "loop"'
            ' (set by wide, was "loops" in baseline)',
        ),
        (
            "[model]\nwidth = 100\n",
            "recipe wide: model.width (100) must be a multiple of heads (8) (width set by wide, heads set by baseline)",
        ),
        (
            "[model]\nvocab_size = 4096\n",
            "recipe wide: model.vocab_size (4096) must equal data.vocab_size (8192)"
            " (model.vocab_size set by wide, data.vocab_size set by baseline)",
        ),
        ("name = 'x'\n", "recipe wide: name is not written by hand; it follows from the files"),
        ('unset = ["train.stepz"]\n', "recipe wide: unset names train.stepz, which no recipe that it extends sets"),
        ("sources = 3\n", "recipe wide: sources must be a list of strings, got 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_with_the_key_the_value_the_file_and_what_would_be_right(write, body, line):
    assert complaint_of(write(body)) == line


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            '[score.method]\nkind = "sliding"\nstrid = 32\n',
            "recipe wide: score.method.strid = 32 is not a key (set by wide); did you mean score.method.stride?",
        ),
        (
            '[score.method]\nkind = "sliding"\nstride = "a"\n',
            'recipe wide: score.method.stride must be an integer, got "a" (set by wide)',
        ),
        (
            '[score.method]\nkind = "phased"\nrank = 4\n',
            "recipe wide: score.method.rank = 4 is not a key (set by wide); known here: kind, lora, prefix_docs,"
            " phases, lr, momentum, chunk_tokens, context, grad_clip",
        ),
    ],
)
def test_a_mistake_in_a_tagged_union_speaks_of_the_chosen_kind_only(write, body, line):
    assert complaint_of(write(body)) == line


def test_a_missing_key_is_named_with_its_type(tmp_path):
    text = re.sub(r"^kv_heads.*\n", "", find_recipe("baseline").read_text(), flags=re.MULTILINE)
    (tmp_path / "root.toml").write_text(text)
    assert complaint_of(tmp_path / "root.toml") == "recipe root: model.kv_heads is missing; it must be an integer"


def test_several_mistakes_are_counted(write):
    line = complaint_of(write('[quant.mlp]\nbits = "6"\n[train]\nsteps = "x"\n'))
    assert line.endswith("; 1 more after that")


def test_a_circle_of_recipes_is_refused(write):
    write("", name="a", extends="b")
    line = complaint_of(write("", name="b", extends="a"))
    assert line == "recipe b: extends goes in a circle: b -> a -> b"


def test_a_recipe_must_say_why(write):
    assert complaint_of(write("", because="")) == (
        "recipe wide: because is missing; one sentence that says why the recipe exists"
    )


def test_a_file_that_is_no_toml_is_named(tmp_path):
    (tmp_path / "bad.toml").write_text("a = \n")
    assert complaint_of(tmp_path / "bad.toml").startswith(f"recipe file {tmp_path / 'bad.toml'} is not TOML: ")


def test_the_resolved_recipe_reads_back_equal(tmp_path):
    resolved = load_recipe("pocket")
    write_resolved(resolved, tmp_path / "deep" / "recipe.json")
    again = read_resolved(tmp_path / "deep" / "recipe.json")
    assert (again.recipe, again.origin, again.sha256) == (resolved.recipe, resolved.origin, resolved.sha256)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["recipe.json"]


def test_the_hash_sees_every_value_and_nothing_but_the_recipe(write):
    first = load_recipe(write("[optim]\nmin_lr = 0.1\n"))
    assert load_recipe(write("[optim]\nmin_lr = 0.1\n")).sha256 == first.sha256
    assert load_recipe(write("[optim]\nmin_lr = 0.2\n")).sha256 != first.sha256


def test_an_edited_recipe_json_is_refused(tmp_path):
    path = tmp_path / "recipe.json"
    write_resolved(load_recipe("pocket"), path)
    whole = json.loads(path.read_text())
    whole["recipe"]["optim"]["min_lr"] = 0.5
    path.write_text(json.dumps(whole))
    with pytest.raises(RecipeError, match="it was edited by hand, resolve it again"):
        read_resolved(path)


@pytest.mark.parametrize("text", ["", "[]", '{"recipe": {}}', '{"recipe": 1, "origin": {}, "sha256": ""}'])
def test_a_recipe_json_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "recipe.json"
    path.write_text(text)
    with pytest.raises(RecipeError, match=re.escape(str(path))):
        read_resolved(path)


def test_a_missing_recipe_json_says_how_to_write_one(tmp_path):
    with pytest.raises(RecipeError, match="does not exist; `fairway recipe resolve NAME -o "):
        read_resolved(tmp_path / "recipe.json")
