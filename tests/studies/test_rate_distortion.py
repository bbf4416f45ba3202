import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fairway.quant.trellis import best_path
from fairway.runtime.tensors import save_tensors
from fairway.studies import rate_distortion
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.rate_distortion import (
    GPTQ,
    NEAREST,
    PATH,
    STATES,
    Stack,
    gaussian_bound,
    path_bits,
    points,
    study,
)
from fairway.studies.weights import entropy_bits, matrices


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def moments(inputs: int) -> torch.Tensor:
    x_NI = drawn(4 * inputs, inputs) @ drawn(inputs, inputs)
    return x_NI.T @ x_NI


def with_hessians(inputs: Inputs, folder: Path) -> Inputs:
    named = matrices(inputs.checkpoints[0])
    save_tensors(folder / "hessians.safetensors", {name: moments(w.shape[1]) for name, w in named.items()}, {})
    return replace(inputs, run_folders=(folder, None))


def test_the_bound_of_white_weights_is_that_of_shannon():
    w_OI = drawn(40, 50)
    w_OI /= w_OI.square().mean(1, keepdim=True).sqrt()
    for bits in (0.0, 1.0, 3.0):
        assert gaussian_bound(w_OI, torch.eye(50), bits) == pytest.approx(w_OI.numel() * 4.0**-bits, rel=1e-5)


@pytest.mark.parametrize("bits", [0.05, 0.5, 2.0])
def test_the_bound_is_reverse_water_filling(bits):
    w_OI, h_II = drawn(12, 9) * torch.arange(1.0, 13.0)[:, None], moments(9)
    variance_N = (w_OI.double().square().mean(1)[:, None] * torch.linalg.eigvalsh(h_II.double())).flatten().numpy()
    low, high = 0.0, float(variance_N.max())
    for _ in range(200):  # the level by bisection
        level = (low + high) / 2
        rate = 0.5 * np.log2(np.maximum(variance_N / level, 1.0)).sum() / w_OI.numel()
        low, high = (level, high) if rate > bits else (low, level)
    expected = np.minimum(variance_N, level).sum()
    assert gaussian_bound(w_OI, h_II, bits) == pytest.approx(expected, rel=1e-4)


def test_symbols_on_a_path_are_counted_by_parity():
    q_OI = torch.tensor([[0, 2, 1, 3], [0, 2, 1, 1]], dtype=torch.int8)
    odd = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert path_bits(q_OI) == pytest.approx(0.5 * 1.0 + 0.5 * odd)
    symbols_RB = best_path(drawn(100, 100) / 0.2, torch.ones(100, 100), STATES, 8)
    assert entropy_bits(symbols_RB) - path_bits(symbols_RB) == pytest.approx(1.0, abs=0.02)


def stack(w_OI: torch.Tensor, h_II: torch.Tensor) -> Stack:
    return Stack(("blocks.0.q",), ("trained",), w_OI[None], h_II[None])


def test_a_white_hessian_leaves_what_theory_leaves():
    w_OI = drawn(64, 96)
    (nearest,) = points("c", stack(w_OI, torch.eye(96)), NEAREST, 0.42, False)
    (path,) = points("c", stack(w_OI, torch.eye(96)), PATH, 0.42, False)
    # scalar rounding is 1.53 dB from the bound at high rate, nearly; eight states are 0.49
    assert 10 * math.log10(nearest.lost / nearest.bound) == pytest.approx(1.59, abs=0.15)
    assert 10 * math.log10(path.lost / path.bound) == pytest.approx(0.55, abs=0.25)
    assert path.bits == pytest.approx(nearest.bits, abs=0.03)


def test_feedback_comes_nearer_to_the_bound_of_a_hessian_that_is_not_white():
    w_OI, h_II = drawn(64, 48), moments(48)
    lost = {way: points("c", stack(w_OI, h_II), way, 0.42, False)[0] for way in (NEAREST, GPTQ, PATH)}
    assert lost[GPTQ].lost < 0.7 * lost[NEAREST].lost
    assert lost[PATH].lost < 0.9 * lost[GPTQ].lost
    assert all(point.lost > point.bound for point in lost.values())


def test_the_study_has_both_sides_and_the_null(inputs: Inputs, tmp_path: Path):
    result = study(with_hessians(inputs, tmp_path))
    assert result.numbers["gptq_error"] == pytest.approx(result.numbers["gptq_error_null"], abs=0.1)
    # matrices of 12 to 48 rows, whose paths hardly begin
    assert result.numbers["trellis_error"] > 0.05
    assert set(result.tables["curves"].column("way")) == set(rate_distortion.WAYS)
    assert "nan" not in result.paragraph


def test_without_a_compiler_paths_are_the_same_and_fewer(inputs: Inputs, tmp_path: Path, monkeypatch):
    given = with_hessians(inputs, tmp_path)
    first = study(given)
    monkeypatch.setattr(rate_distortion, "has_compiler", lambda: False)
    second = study(given)
    assert "no C compiler" in second.paragraph
    assert second.numbers["trellis_error"] == first.numbers["trellis_error"]


def test_without_hessians_there_is_nothing_to_weigh_by(inputs: Inputs):
    with pytest.raises(Needs, match="hessians.safetensors"):
        study(inputs)
