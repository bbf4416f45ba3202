import math

import pytest
import torch

from fairway.studies.alignment import product_values
from fairway.studies.chance import gaussian, haar, source
from fairway.studies.inputs import Inputs
from fairway.studies.spectra import (
    condition,
    energy_at,
    energy_rank,
    entropy_rank,
    marchenko_pastur_condition,
    participation,
    study,
)


def test_ranks_of_equal_values_are_their_number_and_of_one_value_one():
    equal, one = torch.ones(10), torch.tensor([3.0] + [0.0] * 9)
    assert entropy_rank(equal) == pytest.approx(10)
    assert participation(equal) == pytest.approx(10)
    assert energy_rank(equal) == 10
    assert (entropy_rank(one), participation(one), energy_rank(one)) == pytest.approx((1, 1, 1))
    assert energy_at(equal, 3) == pytest.approx(0.3)


def test_the_condition_of_a_product_of_narrow_factors_is_that_of_rounding():
    draw = source("test")
    factored = gaussian(64, 16, draw) @ gaussian(16, 64, draw)
    assert condition(torch.linalg.svdvals(factored.double())) == math.inf
    assert condition(torch.tensor([8.0, 2.0])) == 4.0


def test_gaussian_conditions_follow_marchenko_and_pastur():
    values = torch.linalg.svdvals(gaussian(256, 512, source("test")).double())
    assert condition(values) == pytest.approx(marchenko_pastur_condition(256, 512), rel=0.1)
    assert marchenko_pastur_condition(512, 256) == pytest.approx(5.83, abs=0.01)
    assert marchenko_pastur_condition(8, 8) == math.inf


def test_singular_values_of_a_product_come_without_the_product():
    draw = source("test")
    a, b = gaussian(40, 6, draw), gaussian(30, 6, draw)
    expected = torch.linalg.svdvals((a @ b.T).double())[:6]
    assert torch.allclose(product_values(a, b), expected, rtol=1e-5)


def test_noise_is_told_as_noise_and_a_planted_rank_is_seen(inputs, saved):
    result = study(inputs)
    for part in ("q", "k", "v", "o", "up", "down"):
        ratio = result.numbers[f"{part}.energy_count"] / result.numbers[f"{part}.energy_count_gaussian"]
        assert ratio == pytest.approx(1, abs=0.12)
    draw = source("test")
    state = {f"blocks.{i}.attn.c_q.weight": haar(24, 4, draw) @ haar(24, 4, draw).T for i in range(2)}
    planted = study(Inputs(checkpoints=(saved("low", state),), quick=True))
    assert planted.numbers["q.entropy_rank"] == pytest.approx(4, abs=0.1)
    assert planted.numbers["q.rank_of_99_percent"] == 4
    assert "Farthest below noise in rank is q" in planted.paragraph
