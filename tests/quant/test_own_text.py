"""Calibration on the model's own text: the right draws, shared by ranks, and Hessians of it."""

from dataclasses import replace

import pytest
import torch

from fairway.errors import GateError
from fairway.quant.hessian import collect
from fairway.quant.own_text import own_text, written
from fairway.runtime.ranks import Ranks
from fairway.runtime.seeding import generator
from fairway.spec.quant import OwnText

OWN = OwnText(sequences=8, tokens=6, batch=2, temperature=0.8)


def rank(place: int, world: int) -> Ranks:
    return Ranks(rank=place, world=world, device=torch.device("cpu"))


@torch.no_grad()
def test_each_token_is_drawn_from_what_the_model_says_of_the_row_so_far(model):
    rows = written(model, OWN, generator(3, "draws"), looped=True)
    assert rows.shape == (2, 6)
    draws = generator(3, "draws")
    slow = torch.randint(300, (2, 1), generator=draws)
    for place in range(1, 6):
        shares = (model(rows[:, :place], looped=True)[:, -1] / 0.8).softmax(-1)
        slow = torch.cat([slow, shares.multinomial(1, generator=draws)], 1)
    assert torch.equal(rows, slow)


@torch.no_grad()
def test_a_low_temperature_writes_the_likeliest_token(model):
    rows = written(model, replace(OWN, temperature=1e-4), generator(0, "cold"), looped=True)
    assert torch.equal(rows[:, 1:], model(rows[:, :-1], looped=True).argmax(-1))


def test_ranks_share_the_rows_of_one(model):
    alone = own_text(model, OWN, rank(0, 1), 5, looped=True)
    shared = [own_text(model, OWN, rank(place, 2), 5, looped=True) for place in range(2)]
    assert [len(batches) for batches in shared] == [2, 2]
    for place, batch in enumerate(alone):
        assert torch.equal(shared[place % 2][place // 2].inputs_BT, batch.inputs_BT)
    other = own_text(model, OWN, rank(0, 1), 6, looped=True)
    assert not torch.equal(other[0].inputs_BT, alone[0].inputs_BT)
    assert not torch.equal(alone[0].inputs_BT, alone[1].inputs_BT)


def test_batches_that_ranks_cannot_share_evenly_are_refused(model):
    with pytest.raises(GateError, match="4 batches of own text cannot be shared by 3 ranks"):
        own_text(model, OWN, rank(0, 3), 5, looped=True)


def test_hessians_are_those_of_the_rows(model):
    batches = own_text(model, OWN, rank(0, 1), 5, looped=True)
    hessians = collect(model, batches, len(batches), rank(0, 1), looped=True)
    assert all(float(h.trace()) > 0 for h in hessians.values())


@pytest.mark.parametrize("wrong", [{"sequences": 7}, {"tokens": 0}, {"temperature": 0.0}])
def test_settings_that_write_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        replace(OWN, **wrong)
