"""Low-rank corrections: the best of their rank, on their grids, and back from the artifact."""

from dataclasses import replace

import pytest
import torch

from fairway.data.batches import Batch
from fairway.model.banks import unbank
from fairway.quant.grid import decode
from fairway.quant.hessian import collect
from fairway.quant.lqer import Residual, corrections, low_rank, product, round_factors
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import Hadamard, Lqer, NoRotation


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def loss(error: torch.Tensor, h: torch.Tensor) -> float:
    return float((error @ h * error).sum())


def test_weighted_vectors_lose_least_of_the_outputs_and_plain_ones_least_of_the_weights(toy):
    error, h, eye = normal(20, 32), toy.correlated_hessian(32, seed=1), torch.eye(32)
    left = {
        weighted: error - a @ b
        for weighted in (True, False)
        for a, b in [low_rank(error, h, Lqer(rank=3, weighted=weighted))]
    }
    assert loss(left[True], h) < loss(left[False], h) < loss(error, h)
    assert loss(left[False], eye) < loss(left[True], eye)
    # no other product of that rank does better: the singular values say what is left (Eckart and Young)
    values = torch.linalg.svdvals(error)
    assert loss(left[False], eye) == pytest.approx(float((values[3:] ** 2).sum()), rel=1e-4)
    lower = torch.linalg.cholesky(h + 0.01 * h.diagonal().mean() * eye)
    assert loss(left[True], lower @ lower.T) == pytest.approx(
        float((torch.linalg.svdvals(error @ lower)[3:] ** 2).sum()), rel=1e-3
    )


def test_factors_lie_on_the_grids_of_the_records():
    a, b = normal(50, 4), normal(4, 48, seed=1)
    left, right = round_factors(a, b)
    assert left.symbols.shape == (1, 200) and right.symbols.shape == (3, 64)
    for row, (values, factor, low, high) in enumerate([(a, left, -2, 1), (b, right, -8, 7)]):
        flat = values.reshape(factor.symbols.shape).tolist()
        for group, step, symbols in zip(flat, factor.steps.tolist(), factor.symbols.tolist(), strict=True):
            assert step == pytest.approx(max(map(abs, group)) / (1.5, 7.5)[row], rel=1e-3)
            assert symbols == [min(max(round(value / step), low), high) for value in group]
    back = (left.symbols.float() * left.steps.float()).reshape(50, 4) @ (
        right.symbols.float() * right.steps.float()[:, None]
    ).reshape(4, 48)
    assert torch.equal(product(left, right, 50, 48), back)


def test_a_width_that_groups_of_64_do_not_divide_has_one_step_a_row():
    assert round_factors(normal(5, 3), normal(3, 10))[1].symbols.shape == (3, 10)


def test_the_matrices_of_largest_error_are_corrected():
    residuals = {
        name: Residual(normal(8, 16), normal(8, 16) + size * normal(8, 16, seed=2), torch.eye(16))
        for name, size in (("blocks.0.up", 0.1), ("embedding", 0.3), ("blocks.1.q", 0.2))
    }
    found = corrections(residuals, Lqer(rank=2, top=2), None)
    assert list(found) == ["embedding.left", "embedding.right", "blocks.1.q.left", "blocks.1.q.right"]


@pytest.mark.parametrize("rotation", [NoRotation(), Hadamard()])
@torch.no_grad()
def test_the_artifact_gives_back_corrected_weights_that_are_nearer(model, quant_spec, rotation):
    tokens = torch.randint(2, 300, (1, 257), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens[:, :-1], tokens[:, 1:], None)
    alone = Ranks(rank=0, world=1, device=torch.device("cpu"))
    hessians = collect(model, [batch], 1, alone, looped=True)
    plain = replace(quant_spec, rotation=rotation)
    lqer = replace(plain, correction=Lqer(rank=8, top=4, weighted=True))
    states = []
    for quant in (plain, lqer):
        quantized = rotate_gptq(model, hessians, quant)
        states.append(unpack(pack(quantized, quant, {}), quant)[0])
    before = unbank(model.state_dict(), model.spec)
    assert states[0].keys() == states[1].keys() == before.keys()
    changed = [name for name in before if not torch.equal(states[0][name], states[1][name])]
    assert sorted(f"{name}.{end}" for name in changed for end in ("left", "right")) == sorted(
        name for name in quantized.symbols if name.endswith((".left", ".right"))
    )
    assert len(changed) == 4
    for name in changed:
        errors = [loss(state[name] - before[name], hessians[name]) for state in states]
        assert errors[1] < errors[0], name
    assert bool(decode(quantized.symbols["embedding"], quantized.steps["embedding"]).isfinite().all())
