"""Products that are symmetric by construction: one triangle is computed, the other is its mirror (recipes C.1).

Newton-Schulz multiplies a matrix with its own transpose, then the result with itself: two of its three products.
"""

from collections.abc import Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.operators import TritonKernel, constexpr, fused_operator, operand, runs_triton, tl
from fairway.kernels.polar import POLAR_EPS

_SYM_TILE = 128
_SYM_DEPTH = 64


@TritonKernel
def _symmetric_tile(
    x: operand,
    added: operand,
    out: operand,
    size: operand,
    depth: operand,
    alpha: operand,
    beta: operand,
    ADDS: constexpr,
    TILE: constexpr,
    DEPTH: constexpr,
) -> None:
    across = tl.cdiv(size, TILE)
    down, right = tl.program_id(0) // across, tl.program_id(0) % across
    if right > down:
        return
    here = x + tl.program_id(1).to(tl.int64) * size * depth
    square = tl.program_id(1).to(tl.int64) * size * size
    row = down * TILE + tl.arange(0, TILE)
    column = right * TILE + tl.arange(0, TILE)
    k = tl.arange(0, DEPTH)
    total = tl.zeros((TILE, TILE), dtype=tl.float32)
    for start in range(0, depth, DEPTH):
        inner = k + start
        first = tl.load(
            here + row[:, None] * depth + inner[None, :],
            mask=(row < size)[:, None] & (inner < depth)[None, :],
            other=0.0,
        )
        second = tl.load(
            here + column[None, :] * depth + inner[:, None],
            mask=(column < size)[None, :] & (inner < depth)[:, None],
            other=0.0,
        )
        total = tl.dot(first, second, total, input_precision="ieee")
    total *= alpha
    at = square + row[:, None] * size + column[None, :]
    inside = (row < size)[:, None] & (column < size)[None, :]
    if ADDS:
        total += tl.load(added + at, mask=inside, other=0.0).to(tl.float32) * beta
    result = total.to(out.dtype.element_ty)
    tl.store(out + at, result, mask=inside)
    if right < down:
        mirrored = square + column[:, None] * size + row[None, :]
        tl.store(out + mirrored, tl.trans(result), mask=(column < size)[:, None] & (row < size)[None, :])


def _symmetric_go(x: Tensor, added: Tensor | None, alpha: float, beta: float) -> Tensor:
    batch, size, depth = x.shape
    if runs_triton(x):
        x, out = x.contiguous(), x.new_empty(batch, size, size)
        tiles = -(-size // _SYM_TILE)
        given = (x, x if added is None else added.contiguous(), out, size, depth, alpha, beta)
        _symmetric_tile[(tiles * tiles, batch)](
            *given, added is not None, _SYM_TILE, _SYM_DEPTH, num_warps=8, num_stages=3
        )
        return out
    gram = torch.bmm(x, x.mT)
    return gram.mul_(alpha) if added is None else torch.add(gram.mul_(alpha), added, alpha=beta)


def _symmetric_go_fake(x: Tensor, added: Tensor | None, alpha: float, beta: float) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], x.shape[1])


symmetric_go = fused_operator(
    "symmetric_product",
    "(Tensor x, Tensor? added, float alpha, float beta) -> Tensor",
    _symmetric_go,
    _symmetric_go_fake,
)


def symmetric_product(
    x_BNK: Float[Tensor, "B N K"],
    added_BNN: Float[Tensor, "B N N"] | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
) -> Float[Tensor, "B N N"]:
    """``alpha x x^T + beta added`` of each matrix, ``added`` being symmetric itself; no gradient."""
    return cast(Tensor, symmetric_go(x_BNK, added_BNN, alpha, beta))


def orthogonalize_symmetric(
    x: Float[Tensor, "*batch O I"], polynomials: Sequence[tuple[float, float, float]]
) -> Float[Tensor, "*batch O I"]:
    """``polar.orthogonalize`` with half of the work in two products of each step."""
    y = x.to(torch.bfloat16 if x.is_cuda else torch.float32)
    y = y / (torch.linalg.matrix_norm(y, keepdim=True) + POLAR_EPS)
    tall = y.shape[-2] > y.shape[-1]
    y = y.mT if tall else y
    shape = y.shape
    y = y.reshape(-1, *shape[-2:])
    for a, b, c in polynomials:
        gram = symmetric_product(y)
        y = torch.baddbmm(y, symmetric_product(gram, gram, alpha=c, beta=b), y, beta=a)
    y = y.view(shape)
    return (y.mT if tall else y).contiguous().to(x.dtype)
