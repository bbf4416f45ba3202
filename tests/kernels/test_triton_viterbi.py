"""Paths by the kernel: those of torch to the last symbol."""

from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.kernels.operators import runs_triton
from fairway.quant.gptq import gptq
from fairway.quant.grid import row_steps
from fairway.quant.trellis import best_path
from fairway.quant.trellis_columns import column_paths
from fairway.quant.trellis_triton import triton_best_path
from fairway.spec.quant import TRELLIS_STATES, Gptq, TrellisGrid


@pytest.fixture
def device(monkeypatch):
    """A GPU, or the CPU on which Triton interprets."""
    pytest.importorskip("triton", reason="Triton is not installed")
    if torch.cuda.is_available():
        return "cuda"
    if not runs_triton(torch.empty(0)):
        pytest.skip("there is no GPU, and TRITON_INTERPRET is not 1")
    return "cpu"


def assert_same(targets, weights, states, bits, device):
    found = triton_best_path(targets.to(device), weights.to(device), states, bits)
    assert torch.equal(found.cpu(), best_path(targets, weights, states, bits))


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 24),
    columns=st.integers(1, 3),
    states=st.sampled_from((1, *TRELLIS_STATES)),
    bits=st.integers(3, 8),
    spread=st.floats(0.0, 100.0),
    ties=st.booleans(),
    seed=st.integers(0, 999),
)
def test_paths_are_those_of_torch_to_the_last_symbol(device, rows, columns, states, bits, spread, ties, seed):
    draws = torch.Generator().manual_seed(seed)
    targets = torch.randn(rows, columns, generator=draws) * spread
    weights = torch.rand(rows, columns, generator=draws) * (torch.rand(rows, columns, generator=draws) > 0.1)
    if ties:
        targets, weights = targets.mul(2).round() / 2, torch.ones_like(weights)
    assert_same(targets, weights, states, bits, device)


def test_halves_go_to_the_even_multiple_and_what_is_beyond_the_grid_to_its_end(device):
    halves = torch.arange(-40, 41).float()[:, None] / 2
    far = torch.tensor([0.0, 1e-40, -1e-40, 126.9, -127.0, 3e5, -(2.0**24) - 2, 2.0**26, -1e9, 1e18])[:, None]
    for targets in (halves, far):
        for states in (1, 4):
            assert_same(targets, torch.ones_like(targets), states, 8, device)


def test_rows_that_cost_nothing_leave_every_path_as_it_is(device):
    targets, weights = torch.randn(20, 2, generator=torch.Generator().manual_seed(0)) * 4, torch.ones(20, 2)
    weights[12:] = 0.0
    assert_same(targets, weights, 16, 6, device)
    assert_same(targets, torch.zeros(20, 2), 16, 6, device)


def test_columns_and_gptq_have_the_same_symbols_by_either_engine(device):
    grid = TrellisGrid(bits=6, clip_sigmas=6.0, states=16, segment=12)
    by_kernel = replace(grid, engine="triton")
    draws = torch.Generator().manual_seed(0)
    w, x = torch.randn(20, 6, generator=draws), torch.randn(24, 6, generator=draws)
    step = row_steps(w, grid)
    assert torch.equal(column_paths(w.to(device), step.to(device), by_kernel).cpu(), column_paths(w, step, grid))
    # on one device: sums of another may differ in the last bit, and with them a weight between two symbols
    given = w.to(device), (x.T @ x).to(device), step.to(device)
    assert torch.equal(gptq(*given, by_kernel, Gptq()), gptq(*given, grid, Gptq()))
