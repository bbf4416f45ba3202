"""Where the Triton engine of a trellis cannot run, one line says so."""

import pytest
import torch

from fairway.errors import GateError, RecipeError
from fairway.kernels import operators, viterbi
from fairway.quant import trellis_triton
from fairway.quant.trellis_columns import column_rounder
from fairway.quant.trellis_triton import triton_best_path
from fairway.spec.quant import TrellisGrid


def test_columns_on_a_cpu_are_refused(monkeypatch):
    monkeypatch.setattr(operators, "tl", None)
    with pytest.raises(GateError, match="engine triton of a trellis is for GPUs, not for cpu; take engine compiled"):
        triton_best_path(torch.zeros(2, 2), torch.ones(2, 2), 4, 4)
    rounded = column_rounder(torch.ones(1, 2), [2], TrellisGrid(bits=4, clip_sigmas=1.0, engine="triton"))
    with pytest.raises(GateError, match="is for GPUs"):
        rounded(torch.zeros(1, 2))


def test_a_gpu_without_triton_is_refused(monkeypatch):
    monkeypatch.setattr(operators, "tl", None)
    monkeypatch.setattr(viterbi._viterbi_column, "_ready", None)
    monkeypatch.setattr(trellis_triton, "runs_triton", lambda x: True)
    with pytest.raises(RecipeError, match="asks for Triton kernels, but the package triton is not installed"):
        triton_best_path(torch.zeros(2, 2), torch.ones(2, 2), 4, 4)
