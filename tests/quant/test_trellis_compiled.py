"""Paths by compiled code: the same ones, and what is said where there is no compiler."""

import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import GateError
from fairway.quant import trellis_compiled
from fairway.quant.gptq import gptq
from fairway.quant.grid import row_steps
from fairway.quant.trellis import best_path
from fairway.quant.trellis_compiled import compiled_best_path
from fairway.spec.quant import TRELLIS_STATES, Gptq, TrellisGrid

HAS_COMPILER = any(shutil.which(name) for name in ("cc", "gcc", "clang"))
needs_compiler = pytest.mark.skipif(not HAS_COMPILER, reason="no C compiler is installed")


@needs_compiler
@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(1, 60),
    columns=st.integers(1, 40),
    states=st.sampled_from((1, *TRELLIS_STATES)),
    bits=st.integers(3, 8),
    spread=st.floats(0.0, 100.0),
    ties=st.booleans(),
    seed=st.integers(0, 999),
)
def test_compiled_paths_are_those_of_torch_to_the_last_symbol(rows, columns, states, bits, spread, ties, seed):
    draws = torch.Generator().manual_seed(seed)
    targets = torch.randn(rows, columns, generator=draws) * spread
    weights = torch.rand(rows, columns, generator=draws) * (torch.rand(rows, columns, generator=draws) > 0.1)
    if ties:
        targets, weights = targets.mul(2).round() / 2, torch.ones_like(weights)
    assert torch.equal(compiled_best_path(targets, weights, states, bits), best_path(targets, weights, states, bits))


@needs_compiler
def test_gptq_finds_the_same_symbols_by_either_engine(toy):
    grid = TrellisGrid(bits=6, clip_sigmas=6.0, states=16, segment=24)
    w = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    h, step = toy.correlated_hessian(32, 1), row_steps(w, grid)
    by_torch, by_code = (gptq(w, h, step, replace(grid, engine=engine), Gptq()) for engine in ("torch", "compiled"))
    assert torch.equal(by_torch, by_code)


def test_without_a_compiler_one_line_says_so(monkeypatch):
    trellis_compiled._compiled_library.cache_clear()
    monkeypatch.setattr(trellis_compiled.shutil, "which", lambda name: None)
    with pytest.raises(GateError, match="needs a C compiler, but none of cc, gcc, clang is installed"):
        compiled_best_path(torch.zeros(2, 2), torch.ones(2, 2), 4, 4)


@needs_compiler
def test_what_the_compiler_refuses_is_said_in_one_line(monkeypatch):
    trellis_compiled._compiled_library.cache_clear()
    monkeypatch.setattr(trellis_compiled, "_COMPILED_SOURCE", "this is no program")
    with pytest.raises(GateError, match="ended with status 1: .*error"):
        compiled_best_path(torch.zeros(2, 2), torch.ones(2, 2), 4, 4)


def test_columns_on_a_gpu_are_refused():
    with pytest.raises(GateError, match="is for CPUs, not for meta"):
        compiled_best_path(torch.zeros(2, 2, device="meta"), torch.ones(2, 2, device="meta"), 4, 4)
