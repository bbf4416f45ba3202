import pytest
import torch
from torch import Tensor

from fairway.errors import GateError
from fairway.quant.gptq import gptq, gptq_batch, inverse_factor, relative_error
from fairway.quant.grid import decode, encode, largest_symbol, row_steps
from fairway.spec.quant import Gptq, Grid

GRID = Grid(bits=5, clip_sigmas=10.0)
FOUR = Grid(bits=4, clip_sigmas=10.0)
PLAIN = Gptq(damp=0.0, act_order=False)


def weights(outputs: int, inputs: int, seed: int) -> Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))


def gptq_by_elimination(w_OI: Tensor, h_II: Tensor, step_O: Tensor, bits: int, rounding: Gptq) -> Tensor:
    """The slow twin, in float64: after each column the Hessian's inverse loses that column (the paper's section 3)."""
    h, w, step = h_II.double().clone(), w_OI.double().clone(), step_O.double()
    largest = largest_symbol(bits)
    dead = h.diagonal() == 0
    h.diagonal()[dead] = 1
    w[:, dead] = 0
    h += rounding.damp * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)
    left = list(range(len(h)))
    if rounding.act_order:
        left.sort(key=lambda i: -float(h[i, i]))
    inverse = torch.linalg.inv(h)
    q = torch.zeros_like(w)
    while left:
        i, left = left[0], left[1:]
        q[:, i] = (w[:, i] / step).round().clamp(-largest, largest)
        error = (w[:, i] - q[:, i] * step) / inverse[i, i]
        w -= error[:, None] * inverse[i]
        inverse = inverse - torch.outer(inverse[:, i], inverse[i]) / inverse[i, i]
    return q.to(torch.int8)


def test_the_inverse_factor_is_upper_and_its_square_is_the_inverse(toy):
    h = toy.correlated_hessian(20, 0) + 0.1 * torch.eye(20)
    u = inverse_factor(h)
    assert torch.equal(u, u.triu())
    torch.testing.assert_close(u.T @ u @ h, torch.eye(20), atol=1e-4, rtol=0)


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("block", [7, 16, 128])
def test_blocks_and_the_transposed_copy_give_the_symbols_of_plain_elimination(toy, act_order, block):
    w, h = weights(24, 50, 1), toy.correlated_hessian(50, 2)
    h[:, 11] = h[11] = 0
    rounding = Gptq(block=block, act_order=act_order)
    step = row_steps(w, GRID)
    expected = gptq_by_elimination(w, h, step, GRID.bits, rounding)
    assert torch.equal(gptq(w, h, step, GRID, rounding), expected)
    assert not torch.equal(encode(w, step, GRID.bits), expected)


@pytest.mark.parametrize("act_order", [False, True])
def test_on_a_diagonal_hessian_gptq_is_rounding(act_order):
    w = weights(16, 40, 3)
    step = row_steps(w, GRID)
    for h in (torch.eye(40), torch.diag(torch.rand(40, generator=torch.Generator().manual_seed(4)) + 0.1)):
        assert torch.equal(gptq(w, h, step, GRID, Gptq(act_order=act_order)), encode(w, step, GRID.bits))


@pytest.mark.parametrize("act_order", [False, True])
def test_gptq_is_never_worse_than_rounding_on_its_own_hessian_over_20_problems(toy, act_order):
    for seed in range(20):
        w, h = weights(32, 48, seed), toy.correlated_hessian(48, 100 + seed)
        step = row_steps(w, GRID)
        nearest = relative_error(w, decode(encode(w, step, GRID.bits), step), h)
        q = gptq(w, h, step, GRID, Gptq(act_order=act_order))
        assert relative_error(w, decode(q, step), h) < nearest


def test_with_two_columns_the_second_makes_up_for_the_first():
    correlation, step = 0.8, torch.ones(1).half()
    w, h = torch.tensor([[0.4, 0.3]]), torch.tensor([[1.0, correlation], [correlation, 1.0]])
    # 0.4 -> 0 leaves 0.4, of which 0.8 go to the second column: 0.3 + 0.32 -> 1
    assert gptq(w, h, step, FOUR, PLAIN).tolist() == [[0, 1]]
    assert encode(w, step, 4).tolist() == [[0, 0]]


def test_act_order_rounds_the_most_active_column_first():
    w = torch.tensor([[0.4, 0.3]])
    h = torch.tensor([[1.0, 0.9], [0.9, 1.5]])
    step = torch.ones(1).half()
    # the second goes first: 0.3 -> 0 leaves 0.3, of which 0.9 go to the first column: 0.4 + 0.27 -> 1
    assert gptq(w, h, step, FOUR, Gptq(damp=0.0, act_order=True)).tolist() == [[1, 0]]
    # the first goes first: 0.4 -> 0 leaves 0.4, of which 0.6 go to the second column: 0.3 + 0.24 -> 1
    assert gptq(w, h, step, FOUR, PLAIN).tolist() == [[0, 1]]


def test_weights_of_inputs_that_were_never_active_become_zero(toy):
    w, h = weights(8, 20, 5), toy.correlated_hessian(20, 6)
    h[:, 3] = h[3] = 0
    q = gptq(w, h, row_steps(w, GRID), GRID, Gptq())
    assert not q[:, 3].any()
    assert q[:, :3].any()


@pytest.mark.parametrize("outputs, inputs", [(6, 9), (1, 9), (6, 1)])
def test_arguments_are_left_as_they_are(toy, outputs, inputs):
    w, h = weights(outputs, inputs, 7), toy.correlated_hessian(inputs, 8)
    h[:, 0] = h[0] = 0
    step = row_steps(w, GRID) + torch.ones(outputs).half()
    before = w.clone(), h.clone(), step.clone()
    gptq(w, h, step, GRID, Gptq())
    assert all(torch.equal(a, b) for a, b in zip(before, (w, h, step), strict=True))


def test_a_hessian_that_is_not_positive_definite_stops_the_run():
    h = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(GateError, match="not positive definite"):
        gptq(torch.ones(1, 2), h, torch.ones(1).half(), FOUR, Gptq())


def test_relative_error_is_the_share_of_the_output_energy_that_is_lost():
    x, w = weights(500, 12, 9), weights(5, 12, 10)
    approx = w + 0.1 * weights(5, 12, 11)
    expected = float((x @ (w - approx).T).square().sum() / (x @ w.T).square().sum())
    assert relative_error(w, approx, x.T @ x) == pytest.approx(expected, rel=1e-4)
    assert relative_error(w, w, x.T @ x) == 0
    assert relative_error(torch.zeros(5, 12), torch.zeros(5, 12), x.T @ x) == 0


@pytest.mark.parametrize("act_order", [False, True])
@pytest.mark.parametrize("layers, outputs, inputs, block", [(1, 32, 48, 128), (3, 40, 50, 16), (4, 17, 33, 7)])
def test_a_batch_gives_the_symbols_of_its_matrices_one_by_one(toy, act_order, layers, outputs, inputs, block):
    rounding = Gptq(block=block, act_order=act_order)
    w = torch.stack([weights(outputs, inputs, 20 + layer) for layer in range(layers)])
    h = torch.stack([toy.correlated_hessian(inputs, 30 + layer) for layer in range(layers)])
    h[-1, :, 5] = h[-1, 5] = 0
    step = torch.stack([row_steps(each, GRID) for each in w])
    before = w.clone(), h.clone(), step.clone()
    together = gptq_batch(w, h, step, GRID, rounding, ["name"] * layers, [len(w[0])])
    for layer in range(layers):
        assert torch.equal(together[layer], gptq(w[layer], h[layer], step[layer], GRID, rounding))
        assert torch.equal(together[layer], gptq_by_elimination(w[layer], h[layer], step[layer], GRID.bits, rounding))
    assert all(torch.equal(a, b) for a, b in zip(before, (w, h, step), strict=True))


def test_rows_of_matrices_that_read_one_input_can_be_stacked(toy):
    w, h = weights(48, 64, 40), toy.correlated_hessian(64, 41)
    step = row_steps(w, GRID)
    parts = [gptq(w[rows], h, step[rows], GRID, Gptq()) for rows in (slice(0, 32), slice(32, 48))]
    assert torch.equal(gptq_batch(w[None], h[None], step[None], GRID, Gptq(), ["name"], [len(w)])[0], torch.cat(parts))


def test_the_matrix_of_a_batch_whose_hessian_is_not_positive_definite_is_named():
    h = torch.stack([torch.eye(2), torch.tensor([[1.0, 2.0], [2.0, 1.0]])])
    with pytest.raises(GateError, match=r"tensor second: Hessian is not positive definite \(leading minor 2\)"):
        gptq_batch(torch.ones(2, 1, 2), h, torch.ones(2, 1).half(), FOUR, Gptq(), ["first", "second"], [1])
