from dataclasses import replace

import pytest
import torch

from fairway.studies.inputs import Inputs
from fairway.studies.pruning import FRACTIONS, grid_of_bytes, pruned, rises, study, zeros_of_gaussian
from fairway.studies.weights import FLOOR


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_the_smallest_weights_go():
    w_OI = torch.tensor([[0.1, -3.0], [-0.2, 4.0]])
    assert pruned(w_OI, 0.5, w_OI.abs()).tolist() == [[0.0, -3.0], [0.0, 4.0]]
    assert torch.equal(pruned(w_OI, 0.0, w_OI.abs()), w_OI)
    assert int((pruned(drawn(40, 50), 0.03, drawn(40, 50)) == 0).sum()) == 60


def test_under_the_floor_little_pruning_changes_no_symbol():
    cells = grid_of_bytes("c", {"blocks.0.up": 0.12 * drawn(96, 96)}, ("zlib", "zstd"))
    floored = [c for c in cells if c.which == "smallest" and c.grid == "floor 1/31"]
    assert floored[0].zeros == pytest.approx(zeros_of_gaussian(0.12, FLOOR), abs=0.02)
    for cell in floored[1:5]:
        assert cell.fraction <= 0.05
        assert cell.changed == 0.0
        assert cell.sizes == floored[0].sizes
    assert floored[-1].changed > 0.1
    assert floored[-1].sizes["zlib"] < floored[0].sizes["zlib"]
    at_random = [c for c in cells if c.which == "random" and c.grid == "floor 1/31"]
    assert at_random[1].changed > 0.005


def test_spreads_that_the_pull_request_reports_leave_little_pruning_without_effect():
    assert zeros_of_gaussian(0.2056, FLOOR) == pytest.approx(0.0625, abs=1e-3)
    assert zeros_of_gaussian(0.1186, FLOOR) == pytest.approx(0.108, abs=1e-3)


def test_rises_are_counted_beyond_a_tolerance():
    assert rises([1000, 990, 980]) == 0
    assert rises([10_000, 10_005, 9_000]) == 0
    assert rises([1000, 1050, 990, 1000]) == 2


def test_the_study_says_what_it_leaves_out(inputs: Inputs):
    result = study(inputs)
    assert "Scores were left out" in result.paragraph
    assert result.numbers["curves"] == 6
    assert len(result.tables["bytes"].rows) == 3 * 2 * len(FRACTIONS)
    assert "score" not in result.tables


def test_weights_whose_zeros_are_costly_are_told(inputs: Inputs):
    # two values only: zeros are a third symbol, and bytes must rise
    checkpoint = inputs.checkpoints[0]
    state = {name: w.sign() for name, w in checkpoint.state.items()}
    result = study(replace(inputs, checkpoints=(replace(checkpoint, state=state),)))
    assert result.numbers["curves_that_rise"] > 0
    assert result.numbers["largest_rise"] > 0.05
