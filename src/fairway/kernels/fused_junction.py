"""Where streams meet: their weighted sum and its norm in one pass each way (performance notes 2.B).

``mix_norm`` joins two streams and normalises the sum, ``lanes_norm`` is the whole junction between two layers on two
lanes: what attention and MLP of the layer before add, the skip, the mix with the embedding, and both norms. Programs
go over many rows and keep sums for the weights' gradients; what they kept is added up at the end, in a fixed order.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.norms import RMS_EPS
from fairway.kernels.operators import TritonKernel, block_of, constexpr, fused_operator, operand, runs_triton, tl

_JUNCTION_ROWS = 4
"""Rows that a program treats at once."""
_JUNCTION_PROGRAMS = 528
"""Programs of a backward pass: four for each processor of an H100."""


@TritonKernel
def _mix_forward(
    x: operand,
    w_x: operand,
    s: operand,
    w_s: operand,
    y: operand,
    n: operand,
    rows: operand,
    scale: operand,
    eps: operand,
    WEIGHTED: constexpr,
    SIZE: constexpr,
    ROWS: constexpr,
    BLOCK: constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    whole = column < SIZE
    inside = (row < rows)[:, None] & whole[None, :]
    at = row[:, None] * SIZE + column[None, :]
    total = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if WEIGHTED:
        total *= tl.load(w_x + column, mask=whole, other=0.0).to(tl.float32)[None, :]
    weight = tl.load(w_s + column, mask=whole, other=0.0).to(tl.float32)
    total += tl.load(s + at, mask=inside, other=0.0).to(tl.float32) * weight[None, :]
    tl.store(y + at, total.to(y.dtype.element_ty), mask=inside)
    # The norm is of what is stored, as it is where sum and norm are two passes, and as the backward finds it.
    total = total.to(y.dtype.element_ty).to(tl.float32)
    rho = tl.rsqrt(tl.sum(total * total, 1) / SIZE + eps) * scale
    tl.store(n + at, (total * rho[:, None]).to(n.dtype.element_ty), mask=inside)


@TritonKernel
def _mix_backward(
    y_grad: operand,
    n_grad: operand,
    x: operand,
    w_x: operand,
    s: operand,
    w_s: operand,
    y: operand,
    x_grad: operand,
    s_grad: operand,
    sums: operand,
    rows: operand,
    scale: operand,
    eps: operand,
    WEIGHTED: constexpr,
    JOINED: constexpr,
    SIZE: constexpr,
    ROWS: constexpr,
    BLOCK: constexpr,
) -> None:
    column = tl.arange(0, BLOCK)
    whole = column < SIZE
    weight_x = tl.load(w_x + column, mask=whole, other=0.0).to(tl.float32)[None, :]
    weight_s = tl.load(w_s + column, mask=whole, other=0.0).to(tl.float32)[None, :]
    sum_x = tl.zeros((BLOCK,), dtype=tl.float32)
    sum_s = tl.zeros((BLOCK,), dtype=tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0)):
        row = (block * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        inside = (row < rows)[:, None] & whole[None, :]
        at = row[:, None] * SIZE + column[None, :]
        total = tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(n_grad + at, mask=inside, other=0.0).to(tl.float32)
        rho = tl.rsqrt(tl.sum(total * total, 1) / SIZE + eps)[:, None]
        along = tl.sum(g * total, 1)[:, None] * rho * rho / SIZE
        g = (g - total * along) * rho * scale
        if JOINED:
            g += tl.load(y_grad + at, mask=inside, other=0.0).to(tl.float32)
        other = tl.load(s + at, mask=inside, other=0.0).to(tl.float32)
        sum_s += tl.sum(g * other, 0)
        tl.store(s_grad + at, (g * weight_s).to(s_grad.dtype.element_ty), mask=inside)
        if WEIGHTED:
            sum_x += tl.sum(g * tl.load(x + at, mask=inside, other=0.0).to(tl.float32), 0)
            g *= weight_x
        tl.store(x_grad + at, g.to(x_grad.dtype.element_ty), mask=inside)
    place = sums + tl.program_id(0) * 2 * SIZE + column
    tl.store(place, sum_x, mask=whole)
    tl.store(place + SIZE, sum_s, mask=whole)


def norm_gradient(grad: Tensor, y: Tensor, scale: float) -> Tensor:
    """Gradient of ``y`` for that of ``scale y / rms(y)``; all are float32."""
    rho = (y.square().mean(-1, keepdim=True) + RMS_EPS).rsqrt()
    return (grad - y * ((grad * y).mean(-1, keepdim=True) * rho.square())) * (rho * scale)


def norm_of(y: Tensor, scale: float) -> Tensor:
    """``scale y / rms(y)`` with float32 in between."""
    u = y.float()
    return (u * ((u.square().mean(-1, keepdim=True) + RMS_EPS).rsqrt() * scale)).to(y.dtype)


def _mix_go(x: Tensor, w_x: Tensor | None, s: Tensor, w_s: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    if runs_triton(x):
        y, n = _mix_go_fake(x, w_x, s, w_s, scale)
        sizes = (x.shape[0], scale, RMS_EPS, w_x is not None, x.shape[1], _JUNCTION_ROWS, block_of(x.shape[1]))
        given = (x.contiguous(), w_s if w_x is None else w_x, s.contiguous(), w_s, y, n)
        _mix_forward[(-(-x.shape[0] // _JUNCTION_ROWS),)](*given, *sizes, num_warps=4)
        return y, n
    y = ((x.float() if w_x is None else x.float() * w_x.float()) + s.float() * w_s.float()).to(x.dtype)
    return y, norm_of(y, scale)


def _mix_go_fake(x: Tensor, w_x: Tensor | None, s: Tensor, w_s: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _mix_back(
    y_grad: Tensor | None,
    n_grad: Tensor,
    x: Tensor,
    w_x: Tensor | None,
    s: Tensor,
    w_s: Tensor,
    y: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    rows, size = x.shape
    if runs_triton(x):
        programs = min(_JUNCTION_PROGRAMS, -(-rows // _JUNCTION_ROWS))
        x_grad, s_grad = x.new_empty(x.shape), x.new_empty(x.shape)
        sums = x.new_empty(programs, 2, size, dtype=torch.float32)
        n_grad, y_grad, is_joined = (
            n_grad.contiguous(),
            None if y_grad is None else y_grad.contiguous(),
            y_grad is not None,
        )
        given = (n_grad if y_grad is None else y_grad, n_grad, x.contiguous(), w_s if w_x is None else w_x)
        sizes = (rows, scale, RMS_EPS, w_x is not None, is_joined, size, _JUNCTION_ROWS, block_of(size))
        _mix_backward[(programs,)](*given, s.contiguous(), w_s, y, x_grad, s_grad, sums, *sizes, num_warps=4)
        return x_grad, s_grad, sums.sum(0)
    g = norm_gradient(n_grad.float(), y.float(), scale)
    g = g if y_grad is None else g + y_grad.float()
    sums = torch.stack([(g * x.float()).sum(0), (g * s.float()).sum(0)])
    return (g if w_x is None else g * w_x.float()).to(x.dtype), (g * w_s.float()).to(s.dtype), sums


def _mix_back_fake(
    y_grad: Tensor | None,
    n_grad: Tensor,
    x: Tensor,
    w_x: Tensor | None,
    s: Tensor,
    w_s: Tensor,
    y: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape), x.new_empty(2, x.shape[1], dtype=torch.float32)


def _mix_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.scale = inputs
    ctx.set_materialize_grads(False)  # where the sum is not used again, no zeros are read
    ctx.save_for_backward(*tensors, output[0])


def _mix_gradient(ctx: Any, y_grad: Tensor | None, n_grad: Tensor | None) -> tuple[Tensor | None, ...]:
    x, w_x, s, w_s, y = ctx.saved_tensors
    n_grad = torch.zeros_like(y) if n_grad is None else n_grad
    x_grad, s_grad, sums = mix_back(y_grad, n_grad, x, w_x, s, w_s, y, ctx.scale)
    return x_grad, None if w_x is None else sums[0].to(w_x.dtype), s_grad, sums[1].to(w_s.dtype), None


mix_go = fused_operator(
    "mix_go",
    "(Tensor x, Tensor? w_x, Tensor s, Tensor w_s, float scale) -> (Tensor, Tensor)",
    _mix_go,
    _mix_go_fake,
    gradient=_mix_gradient,
    save=_mix_save,
)
"""(N, D) streams and (D) weights to ``y = w_x x + w_s s`` and ``scale y / rms(y)``."""
mix_back = fused_operator(
    "mix_back",
    "(Tensor? y_grad, Tensor n_grad, Tensor x, Tensor? w_x, Tensor s, Tensor w_s, Tensor y, float scale)"
    " -> (Tensor, Tensor, Tensor)",
    _mix_back,
    _mix_back_fake,
)
"""Gradients of both streams, and of both weights together, (2, D) in float32."""


def mix_norm(
    x: Float[Tensor, "*T D"],
    w_x: Float[Tensor, " D"] | None,
    s: Float[Tensor, "*T D"],
    w_s: Float[Tensor, " D"],
    scale: float,
) -> tuple[Float[Tensor, "*T D"], Float[Tensor, "*T D"]]:
    """``channel_sum((x, w_x), (s, w_s))`` and ``scaled_rms_norm`` of it."""
    y, n = mix_go(x.flatten(0, -2), w_x, s.flatten(0, -2), w_s, scale)
    return y.unflatten(0, x.shape[:-1]), n.unflatten(0, x.shape[:-1])
