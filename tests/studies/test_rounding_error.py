from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fairway.runtime.tensors import save_tensors
from fairway.studies.inputs import Inputs
from fairway.studies.rounding_error import WAYS, losses, study
from fairway.studies.weights import FLOOR, matrices


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def moments(inputs: int) -> torch.Tensor:
    x_NI = drawn(4 * inputs, inputs) @ drawn(inputs, inputs)
    return x_NI.T @ x_NI


def test_the_floor_makes_a_uniform_step_that_no_clip_changes():
    found = {loss.way: loss for loss in losses("c", "blocks.0.q", 0.2 * drawn(64, 64), None, torch.eye(64))}
    assert found.keys() == {way for way in WAYS if not WAYS[way].gptq}
    floored = found["nearest, floor 1/31"]
    assert floored.at_floor == 1.0
    assert floored.squared == pytest.approx(FLOOR**2 / 12, rel=0.05)
    assert found["clip search, floor 1/31"].squared == floored.squared
    assert found["clip search"].squared < 0.99 * found["nearest"].squared
    assert found["nearest"].bits > floored.bits + 0.5


def test_large_rows_escape_the_floor():
    found = {loss.way: loss for loss in losses("c", "blocks.0.q", 2.0 * drawn(64, 64), None, torch.eye(64))}
    assert found["nearest, floor 1/31"].at_floor == 0.0
    assert found["nearest, floor 1/31"].squared == found["nearest"].squared


def test_gptq_loses_less_of_the_outputs_and_more_of_the_weights():
    h_II = moments(48)
    found = {loss.way: loss for loss in losses("c", "blocks.0.q", drawn(32, 48), h_II, torch.eye(48))}
    assert found.keys() == WAYS.keys()
    assert found["GPTQ"].output < 0.7 * found["nearest"].output
    assert found["GPTQ"].squared > found["nearest"].squared


def test_rotation_helps_a_matrix_with_an_outlier_column():
    w_OI = drawn(32, 64)
    w_OI[:, 7] *= 20
    turn_II = torch.linalg.qr(drawn(64, 64)).Q
    found = {loss.way: loss for loss in losses("c", "blocks.0.q", w_OI, torch.eye(64), turn_II)}
    assert found["rotated nearest"].squared < 0.5 * found["nearest"].squared


def test_without_hessians_the_rest_is_told(inputs: Inputs):
    result = study(inputs)
    assert "GPTQ was left out" in result.paragraph
    assert "gptq_gain" not in result.numbers
    assert result.numbers["clip_gain"] == pytest.approx(result.numbers["clip_gain_null"], abs=0.05)


def test_hessians_of_the_run_are_used(inputs: Inputs, tmp_path: Path):
    named = matrices(inputs.checkpoints[0], embeddings=False)
    save_tensors(tmp_path / "hessians.safetensors", {name: moments(w.shape[1]) for name, w in named.items()}, {})
    result = study(replace(inputs, run_folders=(tmp_path, None)))
    assert result.numbers["gptq_gain"] > 0.1
    assert len(result.tables["ways"].rows) == len(WAYS)
    assert set(result.tables["tensors"].column("tensor")) == named.keys()
