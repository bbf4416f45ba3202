from dataclasses import replace
from typing import Any

import pytest
import torch

from fairway.spec.mechanisms import SymLayers
from fairway.train.symmetry import symmetric_shares


def test_shares_are_one_for_symmetric_matrices_and_zero_for_antisymmetric_ones_and_for_nothing() -> None:
    w = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    assert symmetric_shares(torch.stack([w + w.T, w - w.T, torch.zeros(5, 5)])) == [1.0, 0.0, 0.0]


def test_the_log_is_told_every_so_many_steps_and_not_at_all_by_default(world: Any) -> None:
    assert world.run().of("symmetry") == []
    told = world.run(replace(world.train, symmetry_every=4)).of("symmetry")
    assert [entry["step"] for entry in told] == [1, 4]
    assert [len(entry["shares"]) for entry in told] == [8, 8]


def test_forced_symmetry_leaves_its_mark_on_o_alone_at_once(world: Any) -> None:
    world.model = replace(world.model, symmetry=SymLayers(layers=(1,)))
    q_and_o = world.run(replace(world.train, symmetry_every=6)).of("symmetry")[-1]["shares"]
    # it starts at zero and its gradient is symmetric; Muon's normalisation of rows is not quite
    assert q_and_o[4 + 1] > 0.99
    assert all(share < 0.95 for place, share in enumerate(q_and_o) if place != 5)


def test_a_negative_number_of_steps_is_refused(world: Any) -> None:
    with pytest.raises(ValueError, match="symmetry_every"):
        replace(world.train, symmetry_every=-1)
