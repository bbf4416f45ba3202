from dataclasses import fields, is_dataclass

import pytest

from fairway.model.parameters import parameter_count
from fairway.optim.schedule import rate_scale, stepped_rate_scale
from fairway.recipes.load import digest, leaves, load_recipe, plain, value_at
from fairway.recipes.locate import recipe_names
from fairway.recipes.reduce import reduced, resolved_small
from fairway.score.phases import phase_marks
from fairway.spec.data import EmbeddedCorpus
from fairway.spec.optim import SwaAverage
from fairway.spec.quant import Hadamard
from fairway.spec.score import PhasedSgd
from fairway.spec.train import LateReplay, LateRounding

RECIPES = recipe_names()
RENAMED = ("name", "track", "lineage", "seeds")
GRIDS = ("attention", "mlp", "embedding")
NO_SIZES = ("train.compile", "data.shuffle_seed", "train.threads", "train.steps")
"""What a reduced recipe has otherwise without being smaller."""


def kinds(part, path=""):
    """Class of each part of a recipe, by path."""
    found = {path: type(part)}
    for field in fields(part):
        value = getattr(part, field.name)
        if is_dataclass(value):
            found |= kinds(value, f"{path}.{field.name}")
    return found


@pytest.mark.parametrize("name", RECIPES)
def test_every_mechanism_stays_and_only_sizes_shrink(name):
    whole = load_recipe(name).recipe
    small = reduced(whole)
    of_whole, of_small = kinds(whole), kinds(small)
    assert of_small.pop(".data.corpus") is EmbeddedCorpus and of_whole.pop(".data.corpus")
    assert of_small == of_whole
    before, after = plain(whole), plain(small)
    for path in leaves(before):
        if path.startswith((*RENAMED, "data.corpus")) or path in NO_SIZES:
            continue
        was, now = value_at(before, path), value_at(after, path)
        if was == "triton" and path in [f"quant.{grid}.engine" for grid in GRIDS]:
            assert now == "torch", path
        elif isinstance(was, bool) or not isinstance(was, int | float):
            assert now == was, path
        else:
            assert type(now) is type(was) and now <= was and (now > 0) == (was > 0), path
    for path in ("layers", "heads", "kv_heads", "xsa_last"):
        assert getattr(small.model, path) == getattr(whole.model, path)
    assert parameter_count(small.model) < 1_000_000


@pytest.mark.parametrize("name", RECIPES)
def test_the_few_steps_and_documents_are_enough_for_what_comes_late(name):
    recipe = reduced(load_recipe(name).recipe)
    steps, optim = recipe.train.steps, recipe.optim
    last = (steps - 1) / steps
    scale = stepped_rate_scale(last, steps - 1, optim) if optim.warmdown_steps else rate_scale(last, optim)
    late = (recipe.train.rounding, LateRounding, "below_scale"), (recipe.train.replay, LateReplay, "start_scale")
    for part, kind, threshold in (*late, (optim.averaging, SwaAverage, "below_scale")):
        assert not isinstance(part, kind) or scale < getattr(part, threshold)
    method = recipe.score.method
    if isinstance(method, PhasedSgd):
        batches = range(0, recipe.data.val_docs, method.lora.batch_docs)
        marks = phase_marks(method.prefix_docs, method.phases)
        assert len(batches) > len(marks) and marks[-1] <= recipe.data.val_docs - method.lora.batch_docs


def test_channels_keep_their_share_of_the_width():
    whole, small = (make(load_recipe("checkpoint-lab").recipe).model for make in (lambda recipe: recipe, reduced))
    assert (small.width, small.mlp_width, small.head_width, small.rope_dims) == (64, 192, 8, 2)
    assert small.bigram.width / small.width == whole.bigram.width / whole.width
    assert small.value_embedding.width / small.width == whole.value_embedding.width / whole.width


def test_what_is_small_already_stays_and_the_hash_is_of_the_small_recipe():
    tiny = load_recipe("tiny").recipe
    small = resolved_small(tiny)
    assert small.recipe.model == tiny.model
    assert small.sha256 == digest(small.recipe) != load_recipe("tiny").sha256
    assert small.recipe.lineage.parents[0] == "tiny"
    assert reduced(small.recipe).train == small.recipe.train


def test_sizes_that_do_not_fit_each_other_are_refused(write):
    recipe = load_recipe(write("[model]\nheads = 128\nkv_heads = 4\nwidth = 2048\n")).recipe
    assert isinstance(recipe.quant.rotation, Hadamard)
    with pytest.raises(ValueError, match="width"):
        reduced(recipe)
