"""What one matrix and a rotation for each of its siblings cost in bytes, beside the matrices themselves.

Both are rounded to six bits, a step a row, and coded by whichever is smaller, the range coder or (on streams of up to
a megabyte, where it may win) zstd at level 22: the prototype-and-rotation scheme of PR #1048, with fairway's grid in
the place of its fixed step. Since a rotation leaves an error that no rounding has, the matrices are stored once more,
by a grid so coarse that it errs as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import zstandard
from jaxtyping import Float
from torch import Tensor

from fairway.quant.codecs import LONG_STREAM_BYTES, range_encoded
from fairway.quant.grid import decode, encode, row_steps
from fairway.spec.quant import Grid
from fairway.studies.alignment import rotation

BITS = 6
_CLIP_SIGMAS = 12.85
"""#1394's; the step is what it decides."""
_STEP_BYTES = 2
_HALVINGS = 14


@dataclass(frozen=True, slots=True)
class Stored:
    """Bytes, and the share of the matrices' energy that is lost."""

    size_bytes: int
    error: float


def direct(matrices: Sequence[Tensor], clip_sigmas: float = _CLIP_SIGMAS) -> Stored:
    """Every matrix rounded and coded, all in one stream."""
    restored, size_bytes = _rounded(matrices, clip_sigmas)
    return Stored(size_bytes, _error(matrices, restored))


def transported(matrices: Sequence[Tensor], side: str) -> Stored:
    """The first matrix, and a rotation of its inputs (``right``) or outputs (``left``) for each of the others."""
    turned = [w.T if side == "left" else w for w in matrices]
    prototype, *rest = turned
    turns = [rotation(prototype, w) for w in rest]
    restored, size_bytes = _rounded([prototype, *turns], _CLIP_SIGMAS)
    kept, *kept_turns = restored
    return Stored(size_bytes, _error(turned, [kept, *(kept @ turn for turn in kept_turns)]))


def direct_at(matrices: Sequence[Tensor], error: float) -> Stored:
    """The matrices by a grid that errs about as much, and no less than ``direct``; by bisection."""
    low, high = _CLIP_SIGMAS, _CLIP_SIGMAS * 16
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        restored = [_nearest(w, middle)[0] for w in matrices]
        low, high = (middle, high) if _error(matrices, restored) < error else (low, middle)
    return direct(matrices, low)


def _nearest(w_OI: Float[Tensor, "O I"], clip_sigmas: float) -> tuple[Tensor, Tensor]:
    grid = Grid(bits=BITS, clip_sigmas=clip_sigmas)
    steps = row_steps(w_OI, grid)
    symbols = encode(w_OI, steps, BITS)
    return decode(symbols, steps), symbols


def _rounded(matrices: Sequence[Tensor], clip_sigmas: float) -> tuple[list[Tensor], int]:
    pairs = [_nearest(w, clip_sigmas) for w in matrices]
    raw = b"".join(symbols.T.contiguous().numpy().tobytes() for _, symbols in pairs)
    coded = len(range_encoded(raw, 1))
    if len(raw) <= LONG_STREAM_BYTES:
        coded = min(coded, len(zstandard.ZstdCompressor(level=22).compress(raw)))
    return [restored for restored, _ in pairs], coded + _STEP_BYTES * sum(len(w) for w in matrices)


def _error(matrices: Sequence[Tensor], restored: Sequence[Tensor]) -> float:
    lost = sum(float((w - near).square().sum()) for w, near in zip(matrices, restored, strict=True))
    return lost / sum(float(w.square().sum()) for w in matrices)


def gaussian_like(matrices: Sequence[Tensor], draw: torch.Generator) -> list[Tensor]:
    """As many matrices of the same shapes and norms, drawn at random."""
    found = []
    for w in matrices:
        noise = torch.randn(w.shape, generator=draw)
        found.append(noise * (w.norm() / noise.norm()))
    return found


def factored(w_OI: Float[Tensor, "O I"], rank: int) -> Stored:
    """A matrix as two rounded factors; the singular values lie half in each."""
    u, s, vh = torch.linalg.svd(w_OI, full_matrices=False)
    roots = s[:rank].sqrt()
    # a row of the factors is a direction: each has a step of its own
    (left, right), size_bytes = _rounded([(u[:, :rank] * roots).T, roots[:, None] * vh[:rank]], _CLIP_SIGMAS)
    return Stored(size_bytes, _error([w_OI], [left.T @ right]))
