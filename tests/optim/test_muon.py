"""Muon against its definition, matrix by matrix in float64."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from fairway.kernels.polar import POLAR_EXPRESS, POLAR_QUINTIC, orthogonalize
from fairway.optim.muon import Muon, normalise_rows, shape_factor
from fairway.spec.optim import MuonSpec

SPEC = MuonSpec(lr=0.1, weight_decay=0.3)
SHAPES = {"qo_bank": (4, 8, 8), "kv_bank": (4, 4, 8), "up_bank": (2, 24, 8), "down_bank": (2, 8, 24)}


def make(spec: MuonSpec) -> tuple[dict[str, nn.Parameter], Muon]:
    random = torch.Generator().manual_seed(0)
    banks = {name: nn.Parameter(torch.randn(shape, generator=random)) for name, shape in SHAPES.items()}
    return banks, Muon(banks, spec)


def draw_gradients(seed: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=random) for name, shape in SHAPES.items()}


def take(banks: dict[str, nn.Parameter], muon: Muon, gradients: dict[str, Tensor], scale: float, mu: float) -> None:
    for name, bank in banks.items():
        bank.grad = gradients[name].clone()
    muon.step(lr_scale=scale, momentum=mu)


def reference(
    weight: Tensor, gradients: Sequence[Tensor], spec: MuonSpec, scales: Sequence[float], mu: float
) -> Tensor:
    """One matrix at a time, as recipes C.1 states it."""
    buffer = torch.zeros_like(weight)
    for gradient, scale in zip(gradients, scales, strict=True):
        buffer = mu * buffer + gradient
        u = gradient + mu * buffer
        if spec.row_normalise:
            u = torch.stack([row / max(float(row.norm()), 1e-7) for row in u])
        rows, columns = weight.shape
        weight = weight * (1 - spec.lr * scale * spec.weight_decay)
        steps = spec.newton_schulz_steps
        update = orthogonalize(
            u[None], {"quintic": (POLAR_QUINTIC,) * steps, "express": POLAR_EXPRESS}[spec.polynomial]
        )[0]
        weight = weight - spec.lr * scale * max(1.0, rows / columns) ** 0.5 * update
    return weight


def test_polar_express_has_five_steps_at_most() -> None:
    with pytest.raises(ValueError, match="newton_schulz_steps must be 5 at most"):
        replace(SPEC, polynomial="express", newton_schulz_steps=6)


@pytest.mark.parametrize("polynomial", ["quintic", "express"])
@pytest.mark.parametrize("row_normalise", [True, False])
def test_each_matrix_of_each_bank_steps_as_if_it_were_alone(row_normalise: bool, polynomial: str) -> None:
    spec = replace(SPEC, row_normalise=row_normalise, polynomial=polynomial)
    banks, muon = make(spec)
    initial = {name: bank.detach().clone() for name, bank in banks.items()}
    scales, steps = [1.0, 0.4, 0.2], [draw_gradients(seed) for seed in (1, 2, 3)]
    for gradients, scale in zip(steps, scales, strict=True):
        take(banks, muon, gradients, scale, mu=0.9)
    for name, bank in banks.items():
        for i in range(len(bank)):
            alone = reference(initial[name][i], [gradients[name][i] for gradients in steps], spec, scales, mu=0.9)
            torch.testing.assert_close(bank[i].detach(), alone, rtol=1e-4, atol=1e-5)


def test_the_step_does_not_depend_on_the_size_of_the_gradient() -> None:
    ends = []
    for size in (1.0, 1e4):
        banks, muon = make(SPEC)
        take(banks, muon, {name: size * gradient for name, gradient in draw_gradients(1).items()}, 1.0, mu=0.9)
        ends.append(banks)
    for name in SHAPES:
        torch.testing.assert_close(ends[0][name], ends[1][name], rtol=1e-4, atol=1e-5)


def test_rows_become_unit_vectors_and_zero_rows_stay_zero() -> None:
    rows = torch.randn(3, 5, 7)
    rows[1, 2] = 0.0
    norms = torch.linalg.vector_norm(normalise_rows(rows), dim=-1)
    expected = torch.ones(3, 5)
    expected[1, 2] = 0.0
    torch.testing.assert_close(norms, expected)


@pytest.mark.parametrize(("rows", "columns", "factor"), [(1536, 512, 3**0.5), (2048, 512, 2.0), (512, 1536, 1.0)])
def test_tall_matrices_step_further_by_the_root_of_their_shape(rows: int, columns: int, factor: float) -> None:
    assert shape_factor(rows, columns) == pytest.approx(factor)


def test_gradients_are_left_as_they_were() -> None:
    banks, muon = make(SPEC)
    gradients = draw_gradients(1)
    take(banks, muon, gradients, 1.0, mu=0.9)
    for name, bank in banks.items():
        assert bank.grad is not None
        assert torch.equal(bank.grad, gradients[name])


def test_after_reset_the_next_step_is_the_first_one() -> None:
    banks, muon = make(SPEC)
    fresh_banks, fresh = make(SPEC)
    initial = {name: bank.detach().clone() for name, bank in banks.items()}
    take(banks, muon, draw_gradients(1), 1.0, mu=0.9)
    assert all(buffer.any() for buffer in muon.state_tensors())
    muon.reset()
    assert not any(buffer.any() for buffer in muon.state_tensors())
    for name, bank in banks.items():
        bank.data.copy_(initial[name])
    take(banks, muon, draw_gradients(2), 1.0, mu=0.9)
    take(fresh_banks, fresh, draw_gradients(2), 1.0, mu=0.9)
    for name, bank in banks.items():
        assert torch.equal(bank, fresh_banks[name])


def test_a_bank_without_a_gradient_stops_us() -> None:
    banks, muon = make(SPEC)
    for name in ("qo_bank", "kv_bank", "up_bank"):
        banks[name].grad = torch.ones(SHAPES[name])
    with pytest.raises(AssertionError, match="a bank without a gradient"):
        muon.step(lr_scale=1.0, momentum=0.9)


def test_a_step_on_symmetric_products_is_the_step_on_whole_ones(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    moved = []
    for products in ("torch", "triton"):
        generator = torch.Generator().manual_seed(3)
        bank = nn.Parameter(torch.randn(3, 12, 20, generator=generator))
        bank.grad = torch.randn(3, 12, 20, generator=generator)
        Muon({"up_bank": bank}, MuonSpec(products=products)).step(lr_scale=1.0, momentum=0.9)
        moved.append(bank.detach())
    torch.testing.assert_close(*moved)
