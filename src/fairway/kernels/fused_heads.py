"""Queries and keys made ready in one pass each way: norm, gain and partial rotation of every head at once.

The counterpart of ``rotary_heads``; sums are float32 and the result is rounded once (performance notes 2.D).
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.norms import RMS_EPS
from fairway.kernels.operators import TritonKernel, block_of, constexpr, fused_operator, operand, runs_triton, tl

_HEAD_ROWS = 64
"""Heads that one program treats."""


@TritonKernel
def _rotary_forward(
    x: operand,
    gain: operand,
    cos: operand,
    sin: operand,
    y: operand,
    rows: operand,
    heads: operand,
    tokens: operand,
    eps: operand,
    HAS_GAIN: constexpr,
    SIZE: constexpr,
    HALF: constexpr,
    TURNED: constexpr,
    ROWS: constexpr,
    BLOCK: constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < SIZE)[None, :]
    turned = inside & (column < TURNED)[None, :]
    partner = tl.where(column < HALF, column + HALF, column - HALF)
    table = (row // heads % tokens)[:, None] * HALF + (column % HALF)[None, :]
    a = tl.load(x + row[:, None] * SIZE + column[None, :], mask=inside, other=0.0).to(tl.float32)
    b = tl.load(x + row[:, None] * SIZE + partner[None, :], mask=turned, other=0.0).to(tl.float32)
    c = tl.load(cos + table, mask=turned, other=1.0).to(tl.float32)
    s = tl.load(sin + table, mask=turned, other=0.0).to(tl.float32)
    factor = tl.rsqrt(tl.sum(a * a, 1) / SIZE + eps)
    if HAS_GAIN:
        factor = factor * tl.load(gain + row % heads, mask=row < rows, other=0.0).to(tl.float32)
    out = (a * c + b * tl.where(column < HALF, 1.0, -1.0)[None, :] * s) * factor[:, None]
    tl.store(y + row[:, None] * SIZE + column[None, :], out.to(y.dtype.element_ty), mask=inside)


@TritonKernel
def _rotary_backward(
    grad: operand,
    x: operand,
    gain: operand,
    cos: operand,
    sin: operand,
    x_grad: operand,
    along: operand,
    rows: operand,
    heads: operand,
    tokens: operand,
    eps: operand,
    HAS_GAIN: constexpr,
    SIZE: constexpr,
    HALF: constexpr,
    TURNED: constexpr,
    ROWS: constexpr,
    BLOCK: constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    inside = (row < rows)[:, None] & (column < SIZE)[None, :]
    turned = inside & (column < TURNED)[None, :]
    partner = tl.where(column < HALF, column + HALF, column - HALF)
    table = (row // heads % tokens)[:, None] * HALF + (column % HALF)[None, :]
    a = tl.load(grad + row[:, None] * SIZE + column[None, :], mask=inside, other=0.0).to(tl.float32)
    b = tl.load(grad + row[:, None] * SIZE + partner[None, :], mask=turned, other=0.0).to(tl.float32)
    c = tl.load(cos + table, mask=turned, other=1.0).to(tl.float32)
    s = tl.load(sin + table, mask=turned, other=0.0).to(tl.float32)
    g = a * c - b * tl.where(column < HALF, 1.0, -1.0)[None, :] * s
    u = tl.load(x + row[:, None] * SIZE + column[None, :], mask=inside, other=0.0).to(tl.float32)
    rho = tl.rsqrt(tl.sum(u * u, 1) / SIZE + eps)
    factor = rho
    dot = tl.sum(g * u, 1)
    if HAS_GAIN:
        factor = rho * tl.load(gain + row % heads, mask=row < rows, other=0.0).to(tl.float32)
        tl.store(along + row, rho * dot, mask=row < rows)
    out = (g - u * (rho * rho * dot / SIZE)[:, None]) * factor[:, None]
    tl.store(x_grad + row[:, None] * SIZE + column[None, :], out.to(x_grad.dtype.element_ty), mask=inside)


def _rotary_pair(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    half = cos.shape[-1]
    a, b, rest = x.split((half, half, x.shape[-1] - 2 * half), dim=-1)
    return torch.cat((a * cos + b * (sign * sin), b * cos - a * (sign * sin), rest), dim=-1)


def _rotary_launch(kernel: TritonKernel, given: tuple[Any, ...], x: Tensor, gain: Tensor | None, cos: Tensor) -> None:
    rows, half = x.shape[0] * x.shape[1] * x.shape[2], cos.shape[-1]
    sizes = (rows, x.shape[2], x.shape[1], RMS_EPS, gain is not None, x.shape[-1], max(half, 1), 2 * half)
    kernel[(-(-rows // _HEAD_ROWS),)](*given, *sizes, _HEAD_ROWS, block_of(x.shape[-1]), num_warps=4)


def _rotary_go(x: Tensor, gain: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
    if runs_triton(x):
        x, cos, sin = x.contiguous(), cos.contiguous(), sin.contiguous()
        y = torch.empty_like(x)
        _rotary_launch(_rotary_forward, (x, x if gain is None else gain.contiguous(), cos, sin, y), x, gain, cos)
        return y
    u = x.float()
    factor = (u.square().mean(-1, keepdim=True) + RMS_EPS).rsqrt()
    if gain is not None:
        factor = factor * gain.float()[:, None]
    return (_rotary_pair(u, cos.float(), sin.float(), 1.0) * factor).to(x.dtype)


def _rotary_go_fake(x: Tensor, gain: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _rotary_back(grad: Tensor, x: Tensor, gain: Tensor | None, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    along = x.new_zeros(x.shape[:-1], dtype=torch.float32)
    if runs_triton(x):
        grad, x, cos, sin = grad.contiguous(), x.contiguous(), cos.contiguous(), sin.contiguous()
        x_grad = torch.empty_like(x)
        given = (grad, x, x if gain is None else gain.contiguous(), cos, sin, x_grad, along)
        _rotary_launch(_rotary_backward, given, x, gain, cos)
        return x_grad, along
    u, g = x.float(), _rotary_pair(grad.float(), cos.float(), sin.float(), -1.0)
    rho = (u.square().mean(-1, keepdim=True) + RMS_EPS).rsqrt()
    dot = (g * u).sum(-1, keepdim=True)
    factor = rho if gain is None else rho * gain.float()[:, None]
    x_grad = (g - u * (rho.square() * dot / x.shape[-1])) * factor
    return x_grad.to(x.dtype), along if gain is None else (rho * dot).squeeze(-1)


def _rotary_back_fake(grad: Tensor, x: Tensor, gain: Tensor | None, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    along = x.new_empty(x.shape[:-1], dtype=torch.float32)
    return torch.empty_like(x, memory_format=torch.contiguous_format), along


def _rotary_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _rotary_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
    x, gain, cos, sin = ctx.saved_tensors
    x_grad, along = rotary_back(grad, x, gain, cos, sin)
    return x_grad, None if gain is None else along.flatten(0, -2).sum(0).to(gain.dtype), None, None


rotary_go = fused_operator(
    "rotary_go",
    "(Tensor x, Tensor? gain, Tensor cos, Tensor sin) -> Tensor",
    _rotary_go,
    _rotary_go_fake,
    gradient=_rotary_gradient,
    save=_rotary_save,
)
"""(B, T, heads, K) as ``rotary_heads`` makes it."""
rotary_back = fused_operator(
    "rotary_back",
    "(Tensor grad, Tensor x, Tensor? gain, Tensor cos, Tensor sin) -> (Tensor, Tensor)",
    _rotary_back,
    _rotary_back_fake,
)
"""The gradient of ``x``, and of each gain what each head adds to it, float32 (zero where there is no gain)."""


def fused_rotary_heads(
    x: Float[Tensor, "B T heads K"],
    gain: Float[Tensor, " heads"] | None,
    cos: Float[Tensor, "T 1 half"],
    sin: Float[Tensor, "T 1 half"],
) -> Float[Tensor, "B T heads K"]:
    """``rotary_heads`` as one operator."""
    return cast(Tensor, rotary_go(x, gain, cos, sin))
