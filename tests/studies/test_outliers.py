from dataclasses import replace

import pytest
import torch

from fairway.studies.inputs import Inputs
from fairway.studies.outliers import column_overlaps, study, tails


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_columns_of_different_size_explain_a_heavy_tail_and_single_outliers_are_not_explained():
    columns = torch.ones(96)
    columns[:8] = 6.0
    scaled = tails("c", "blocks.0.k", drawn(96, 96) * columns, torch.eye(96), 6)
    assert scaled.kurtosis > 5
    assert scaled.kurtosis_both == pytest.approx(scaled.kurtosis, rel=0.2)
    assert scaled.kurtosis_rows < 1
    spiked = drawn(96, 96)
    spiked[torch.arange(40), (torch.arange(40) * 7) % 96] = 12.0
    alone = tails("c", "blocks.0.k", spiked, torch.eye(96), 6)
    assert alone.kurtosis > 10 * max(alone.kurtosis_both, 0.3)
    assert alone.beyond_ppm > 2 * alone.beyond_both_ppm


def test_outliers_cost_error_that_a_gaussian_twin_does_not_have():
    spiked = drawn(64, 64)
    spiked[:, 3] = torch.where(torch.arange(64) % 2 == 0, 15.0, -15.0)
    h_II = torch.eye(64)
    h_II[3, 3] = 1e-6
    found = tails("c", "blocks.0.q", spiked, h_II, 2)
    assert found.error > 5 * tails("c", "blocks.0.q", drawn(64, 64), torch.eye(64), 2).error


def test_shared_columns_are_told_from_columns_by_chance():
    columns = torch.ones(80)
    columns[[3, 9, 20, 33, 41, 50, 66, 71]] = 5.0
    named = {"blocks.0.k": drawn(40, 80) * columns, "blocks.1.k": drawn(40, 80, seed=1) * columns}
    named["blocks.2.k"] = drawn(40, 80, seed=5)
    by_pair = {
        (one, other): (jaccard, expected, chance) for one, other, jaccard, expected, chance in column_overlaps(named)
    }
    assert by_pair["blocks.0.k", "blocks.1.k"][0] == 1.0
    assert by_pair["blocks.0.k", "blocks.1.k"][2] < 1e-6
    assert by_pair["blocks.0.k", "blocks.2.k"][2] > 0.05
    assert by_pair["blocks.0.k", "blocks.1.k"][1] == pytest.approx(0.05, abs=0.02)


def test_gaussian_checkpoints_have_no_tails(inputs: Inputs):
    result = study(inputs)
    assert abs(result.numbers["kurtosis_mean"] - result.numbers["kurtosis_mean_both"]) < 0.1
    assert len(result.tables["tails"].rows) == 2 * 19
    assert "no Hessian" in result.paragraph


def test_a_planted_outlier_is_named(inputs: Inputs):
    checkpoint = inputs.checkpoints[1]
    w_OI = checkpoint.state["blocks.1.up"].clone()
    w_OI[2, 5] = 12.0
    planted = replace(checkpoint, state={**checkpoint.state, "blocks.1.up": w_OI})
    result = study(replace(inputs, checkpoints=(inputs.checkpoints[0], planted)))
    assert "blocks.1.up in seed2" in result.paragraph
    assert result.numbers["kurtosis_top"] > 5 * result.numbers["kurtosis_top_both"]
