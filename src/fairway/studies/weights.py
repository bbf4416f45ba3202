"""Matrices of a checkpoint, null models of them, and what their symbols take: for studies of weights and bytes."""

import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence

import brotli  # type: ignore[import-untyped]
import numpy as np
import torch
import zstandard
from jaxtyping import Float, Int8, Integer
from torch import Tensor

from fairway.quant.codecs import range_encoded
from fairway.quant.grid import encode, row_steps
from fairway.runtime.tensors import load_tensors
from fairway.spec.quant import Grid, QuantileGrid
from fairway.spec.roles import MATRIX_ROLES, Role, is_named, role_of
from fairway.studies.checkpoint import Checkpoint
from fairway.studies.inputs import Inputs

FLOOR = 1 / 31
"""The least step of the early six-bit exporters: rows whose largest weight is below 1 have exactly this (D.1)."""

FLOORED = QuantileGrid(bits=6, quantiles=(1.0,), scale_floor=FLOOR)
"""Six bits, step = max(largest weight of the row / 31, 1/31): the exporter of #215, #212 and #1048."""

FREE = QuantileGrid(bits=6, quantiles=(1.0,))
"""The same without the floor."""

_LEAST_SIDE = 8


def matrices(checkpoint: Checkpoint, *, embeddings: bool = True) -> dict[str, Float[Tensor, "O I"]]:
    """What a quantizer would round: block matrices, and tables of embeddings if asked for."""
    wanted = (*MATRIX_ROLES, Role.EMBEDDING) if embeddings else MATRIX_ROLES
    return {
        name: w
        for name, w in checkpoint.state.items()
        if w.dim() == 2 and min(w.shape) >= _LEAST_SIDE and is_named(name) and role_of(name) in wanted
    }


def run_tensors(inputs: Inputs, index: int, file: str) -> dict[str, Tensor]:
    """Tensors of a file of one checkpoint's run; none where there is no such file."""
    path = inputs.run_file(index, file)
    return {} if path is None else load_tensors(path)


def gaussian_rows(w_OI: Float[Tensor, "O I"], draws: torch.Generator) -> Float[Tensor, "O I"]:
    """Independent Gaussian weights whose rows have the variances that those of these show."""
    noise_OI = torch.randn(w_OI.shape, generator=draws)
    return noise_OI * _variances(w_OI.square(), 1).sqrt()


def gaussian_rows_columns(w_OI: Float[Tensor, "O I"], draws: torch.Generator) -> Float[Tensor, "O I"]:
    """The same with rows and columns: the variance of a weight is that of its row times that of its column."""
    square_OI = w_OI.square()
    total = square_OI.mean().clamp_min(torch.finfo(torch.float32).tiny)
    variance_OI = _variances(square_OI, 1) * _variances(square_OI, 0) / total
    return torch.randn(w_OI.shape, generator=draws) * variance_OI.sqrt()


def _variances(square_OI: Tensor, axis: int) -> Tensor:
    """Mean squares of rows (axis 1) or columns, drawn together by as much as chance draws them apart.

    Logarithms of mean squares of n Gaussian values scatter with variance 2 / n, nearly; a twin drawn with those mean
    squares would scatter twice, and have a tail for that alone (0.14 of excess kurtosis for 64 by 128).
    """
    mean_L = square_OI.mean(axis, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    log_L = mean_L.log()
    apart_L = log_L - log_L.mean()
    seen = float(apart_L.square().mean())
    if seen == 0:
        return mean_L
    together_L = (apart_L * max(0.0, 1.0 - 2.0 / square_OI.shape[axis] / seen) ** 0.5).exp()
    return together_L * (mean_L.mean() / together_L.mean())


def excess_kurtosis(values: Float[Tensor, "*S"]) -> float:
    """Fourth central moment over the squared second, less 3: 0 for a Gaussian."""
    centred = values.double() - values.double().mean()
    second = float(centred.square().mean())
    return float(centred.pow(4).mean()) / second**2 - 3.0 if second > 0 else 0.0


def entropy_bits(symbols: Integer[Tensor, "*S"]) -> float:
    """Order-0 entropy of the symbols by their own counts, in bits each."""
    shifted_N = symbols.flatten().long()
    counts = (shifted_N - shifted_N.min()).bincount().double()
    shares = counts[counts > 0] / counts.sum()
    return max(0.0, -float((shares * shares.log2()).sum()))


def on_grid(w_OI: Float[Tensor, "O I"], grid: Grid | QuantileGrid) -> tuple[Int8[Tensor, "O I"], Float[Tensor, " O"]]:
    """Nearest symbols of a grid, and the rows' steps in float32."""
    step_O = row_steps(w_OI, grid)
    return encode(w_OI, step_O, grid.bits), step_O.float()


def laid(symbols: Sequence[Int8[Tensor, "_ _"]]) -> bytes:
    """Symbols of some matrices one after another, each transposed, as an artifact has them."""
    return b"".join(np.ascontiguousarray(q_OI.T.numpy()).tobytes() for q_OI in symbols)


CODECS: Mapping[str, Callable[[bytes], int]] = {
    "zlib": lambda raw: len(zlib.compress(raw, 9)),
    "zstd": lambda raw: len(zstandard.ZstdCompressor(level=22).compress(raw)),
    "lzma": lambda raw: len(lzma.compress(raw, preset=9)),
    "brotli": lambda raw: len(brotli.compress(raw, quality=11, lgwin=24)),
    "range": lambda raw: len(range_encoded(raw, 1)),
}
"""Bytes that a stream of symbols takes: zlib 9, zstd 22, lzma 9, brotli 11, and fairway's range coder (order 0)."""
