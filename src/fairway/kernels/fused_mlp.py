"""The MLP with its activation inside the products: one saved tensor and one bit an element instead of two tensors.

The up product writes ``post = leaky(u)**2`` and the sign of ``u``, packed; the derivative is ``2 sqrt(post)`` where
``u`` is positive and ``-2 slope sqrt(post)`` elsewhere, so ``u`` itself is never written (performance notes 2.C). The
product that carries the gradient back through the down matrix ends with that derivative. All other products are
torch's own, in the sight of a compiler: an MLP that was one opaque function lost more around it than it won (#1105).

Blocks are loaded through plain pointers, not tensor-map descriptors, whose gain nobody has measured here.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.operators import TritonKernel, constexpr, fused_operator, operand, runs_triton, tl

_MLP_TILE = (128, 256, 64, 8)
"""Rows, columns, depth of a tile; tiles of rows that share their columns' weights in the second-level cache."""
_MLP_WARPS = 8
_MLP_STAGES = 3


@TritonKernel
def _mlp_up_tile(
    x: operand,
    w: operand,
    post: operand,
    signs: operand,
    rows: operand,
    width: operand,
    depth: operand,
    slope: operand,
    EVEN: constexpr,
    ROWS: constexpr,
    COLUMNS: constexpr,
    DEPTH: constexpr,
    GROUP: constexpr,
) -> None:
    across = tl.cdiv(width, COLUMNS)
    group = tl.program_id(0) // (GROUP * across)
    tall = tl.minimum(tl.cdiv(rows, ROWS) - group * GROUP, GROUP)
    inner = tl.program_id(0) % (GROUP * across)
    row = (group * GROUP + inner % tall) * ROWS + tl.arange(0, ROWS)
    first = inner // tall * COLUMNS
    column = first + tl.arange(0, COLUMNS)
    k = tl.arange(0, DEPTH)
    # Beyond the edge other rows are read and never stored, which spares the loop most of its masks.
    at_x = x + (row % rows).to(tl.int64)[:, None] * depth + k[None, :]
    at_w = w + (column % width)[None, :] * depth + k[:, None]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, depth, DEPTH):
        if EVEN:
            left, right = tl.load(at_x + start), tl.load(at_w + start)
        else:
            left = tl.load(at_x + start, mask=(k + start < depth)[None, :], other=0.0)
            right = tl.load(at_w + start, mask=(k + start < depth)[:, None], other=0.0)
        total = tl.dot(left, right, total, input_precision="ieee")
    # One half after the other: the whole tile's signs beside its sums would not fit into the registers.
    lower, upper = tl.split(tl.permute(tl.reshape(total, (ROWS, 2, COLUMNS // 2)), (0, 2, 1)))
    bytes_a_row = tl.cdiv(width, 8)
    for half in tl.static_range(2):
        part = lower if half == 0 else upper
        begin = first + half * (COLUMNS // 2)
        column = begin + tl.arange(0, COLUMNS // 2)
        negative = (part < 0.0) & (column < width)[None, :]  # no bits beyond the last column
        u = tl.where(negative, part * slope, part)
        at = row.to(tl.int64)[:, None] * width + column[None, :]
        tl.store(post + at, (u * u).to(post.dtype.element_ty), mask=(row < rows)[:, None] & (column < width)[None, :])
        bits = tl.reshape(negative.to(tl.int32), (ROWS, COLUMNS // 16, 8)) << tl.arange(0, 8)[None, None, :]
        byte = begin // 8 + tl.arange(0, COLUMNS // 16)
        at_signs = signs + row.to(tl.int64)[:, None] * bytes_a_row + byte[None, :]
        tl.store(at_signs, tl.sum(bits, 2).to(tl.uint8), mask=(row < rows)[:, None] & (byte < bytes_a_row)[None, :])


@TritonKernel
def _mlp_back_tile(
    grad: operand,
    w: operand,
    post: operand,
    signs: operand,
    out: operand,
    rows: operand,
    width: operand,
    depth: operand,
    slope: operand,
    EVEN: constexpr,
    ROWS: constexpr,
    COLUMNS: constexpr,
    DEPTH: constexpr,
    GROUP: constexpr,
) -> None:
    across = tl.cdiv(width, COLUMNS)
    group = tl.program_id(0) // (GROUP * across)
    tall = tl.minimum(tl.cdiv(rows, ROWS) - group * GROUP, GROUP)
    inner = tl.program_id(0) % (GROUP * across)
    row = (group * GROUP + inner % tall) * ROWS + tl.arange(0, ROWS)
    first = inner // tall * COLUMNS
    column = first + tl.arange(0, COLUMNS)
    k = tl.arange(0, DEPTH)
    at_grad = grad + (row % rows).to(tl.int64)[:, None] * depth + k[None, :]
    at_w = w + k[:, None] * width + (column % width)[None, :]
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for start in range(0, depth, DEPTH):
        if EVEN:
            left, right = tl.load(at_grad + start), tl.load(at_w + start * width)
        else:
            left = tl.load(at_grad + start, mask=(k + start < depth)[None, :], other=0.0)
            right = tl.load(at_w + start * width, mask=(k + start < depth)[:, None], other=0.0)
        total = tl.dot(left, right, total, input_precision="ieee")
    # One half after the other, as above.
    lower, upper = tl.split(tl.permute(tl.reshape(total, (ROWS, 2, COLUMNS // 2)), (0, 2, 1)))
    bytes_a_row = tl.cdiv(width, 8)
    for half in tl.static_range(2):
        part = lower if half == 0 else upper
        begin = first + half * (COLUMNS // 2)
        column = begin + tl.arange(0, COLUMNS // 2)
        byte = begin // 8 + tl.arange(0, COLUMNS // 16)
        at_signs = signs + row.to(tl.int64)[:, None] * bytes_a_row + byte[None, :]
        packed = tl.load(at_signs, mask=(row < rows)[:, None] & (byte < bytes_a_row)[None, :], other=0).to(tl.int32)
        bits = (packed[:, :, None] >> tl.arange(0, 8)[None, None, :]) & 1
        factor = tl.where(tl.reshape(bits, (ROWS, COLUMNS // 2)) != 0, -2.0 * slope, 2.0)
        at = row.to(tl.int64)[:, None] * width + column[None, :]
        inside = (row < rows)[:, None] & (column < width)[None, :]
        root = tl.sqrt(tl.load(post + at, mask=inside, other=0.0).to(tl.float32))
        tl.store(out + at, (part * root * factor).to(out.dtype.element_ty), mask=inside)


def _mlp_up(x: Tensor, up: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    rows, width = x.shape[0], up.shape[0]
    if runs_triton(x):
        x, up = x.contiguous(), up.contiguous()
        post, signs = _mlp_up_fake(x, up, slope)
        _mlp_up_tile[_mlp_grid(rows, width)](
            *(x, up, post, signs, rows, width, x.shape[1], slope, x.shape[1] % _MLP_TILE[2] == 0, *_MLP_TILE),
            num_warps=_MLP_WARPS,
            num_stages=_MLP_STAGES,
        )
        return post, signs
    u = F.linear(x, up)
    negative = F.pad((u < 0).to(torch.uint8), (0, -width % 8)).unflatten(1, (-1, 8))
    signs = (negative << torch.arange(8, dtype=torch.uint8)).sum(2, dtype=torch.uint8)
    y = F.leaky_relu(u, slope)
    return y.mul_(y), signs


def _mlp_up_fake(x: Tensor, up: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    post = x.new_empty(x.shape[0], up.shape[0])
    return post, x.new_empty(x.shape[0], (up.shape[0] + 7) // 8, dtype=torch.uint8)


def _mlp_back(grad: Tensor, down: Tensor, post: Tensor, signs: Tensor, slope: float) -> Tensor:
    rows, width = post.shape
    if runs_triton(post):
        out = torch.empty_like(post)
        grad, down = grad.contiguous(), down.contiguous()
        _mlp_back_tile[_mlp_grid(rows, width)](
            *(
                grad,
                down,
                post,
                signs,
                out,
                rows,
                width,
                grad.shape[1],
                slope,
                grad.shape[1] % _MLP_TILE[2] == 0,
                *_MLP_TILE,
            ),
            num_warps=_MLP_WARPS,
            num_stages=_MLP_STAGES,
        )
        return out
    negative = (signs[:, :, None] >> torch.arange(8, dtype=torch.uint8)).bitwise_and_(1).flatten(1)[:, :width].bool()
    return (grad @ down).mul_(post.sqrt()).mul_(torch.where(negative, -2.0 * slope, 2.0))


def _mlp_back_fake(grad: Tensor, down: Tensor, post: Tensor, signs: Tensor, slope: float) -> Tensor:
    return torch.empty_like(post)


def _mlp_grid(rows: int, width: int) -> tuple[int]:
    return (-(-rows // _MLP_TILE[0]) * -(-width // _MLP_TILE[1]),)


mlp_up = fused_operator("mlp_up", "(Tensor x, Tensor up, float slope) -> (Tensor, Tensor)", _mlp_up, _mlp_up_fake)
"""(N, D) and (F, D) to ``leaky(u)**2``, (N, F), for ``u = x up^T``, and its signs: bit ``f % 8`` of byte ``f // 8``."""
mlp_back = fused_operator(
    "mlp_back",
    "(Tensor grad, Tensor down, Tensor post, Tensor signs, float slope) -> Tensor",
    _mlp_back,
    _mlp_back_fake,
)
"""Gradients of the MLP's output, (N, D), and the down matrix, (D, F), to gradients before the activation, (N, F)."""


class _FusedMlp(torch.autograd.Function):
    """Traced, not opaque: a compiler sees the products that are not in an operator."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, up: Tensor, down: Tensor, slope: float) -> Tensor:
        post, signs = mlp_up(x, up, slope)
        ctx.save_for_backward(x, up, down, post, signs)
        ctx.slope = slope
        return F.linear(post, down)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, up, down, post, signs = ctx.saved_tensors
        u_grad = mlp_back(grad, down, post, signs, ctx.slope)
        return u_grad @ up, u_grad.mT @ x, grad.mT @ post, None


def fused_mlp(
    x: Float[Tensor, "*T D"], up: Float[Tensor, "F D"], down: Float[Tensor, "D F"], slope: float
) -> Float[Tensor, "*T D"]:
    """``leaky_square(x up^T, slope) down^T``."""
    y = cast(Tensor, _FusedMlp.apply(x.flatten(0, -2), up, down, slope))
    return y.unflatten(0, x.shape[:-1])
