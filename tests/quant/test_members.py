"""Two rounded models in one artifact: each comes back as if it were alone."""

from dataclasses import replace

import pytest
import torch

from fairway.data.batches import Batch
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.model.members import split_raw, with_raw
from fairway.quant.forecast import forecast
from fairway.quant.hessian import collect
from fairway.quant.members import joined
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.sensitivity import sensitivities
from fairway.recipes.load import load_recipe
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import GradientBits, Lqer, NoRotation
from fairway.spec.recipe import Recipe

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
ROWS = torch.randint(2, 300, (3, 65), generator=torch.Generator().manual_seed(0))
BATCHES = [Batch(row[None, :-1], row[None, 1:], torch.tensor([0, 40, 64], dtype=torch.int32)) for row in ROWS]


@pytest.mark.parametrize("by_gradient", [False, True])
def test_each_model_comes_back_as_if_it_were_alone(model_spec, quant_spec, by_gradient):
    quant = replace(quant_spec, mixing=GradientBits(), rotation=NoRotation()) if by_gradient else quant_spec
    rounded, alone = [], []
    for seed in (1, 2):
        model = Gpt(model_spec)
        initialise(model, seed)
        hessians = collect(model, BATCHES, 3, ALONE, looped=True)
        if by_gradient:
            hessians |= sensitivities(model, BATCHES, 3, ALONE, looped=True)
        rounded.append(rotate_gptq(model, hessians, quant))
        alone.append(unpack(pack(rounded[-1], quant, {}), quant)[0])
    assert any(not torch.equal(alone[0][name], alone[1][name]) for name in alone[0])
    data = pack(joined(*rounded, quant), quant, {})
    average, raw = split_raw(unpack(data, quant)[0])
    for found, expected in zip((average, raw), alone, strict=True):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_names_of_both_come_apart_again():
    both = with_raw({"embedding": 1, "blocks.0.q": 2}, {"embedding": 3, "blocks.0.q": 4})
    assert both == {"embedding": 1, "blocks.0.q": 2, "raw_embedding": 3, "raw_blocks.0.q": 4}
    assert split_raw(both) == ({"embedding": 1, "blocks.0.q": 2}, {"embedding": 3, "blocks.0.q": 4})


def test_the_forecast_counts_both():
    recipe = load_recipe("checkpoint-lab-ensemble").recipe
    alone = replace(recipe, score=replace(recipe.score, logit_ensemble=False))
    assert forecast(recipe).total_bytes == pytest.approx(2 * forecast(alone).total_bytes, rel=1e-3)
    assert forecast(recipe).total_bytes <= forecast(load_recipe("checkpoint-lab").recipe).total_bytes


def test_what_would_have_to_be_made_twice_is_refused():
    recipe: Recipe = load_recipe("checkpoint-lab-ensemble").recipe
    with pytest.raises(ValueError, match="score.logit_ensemble needs"):
        replace(recipe, quant=replace(recipe.quant, correction=Lqer()))
