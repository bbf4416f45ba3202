"""The junction between two layers on two lanes in one pass each way: see ``fused_junction`` for why."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.fused_junction import norm_gradient, norm_of
from fairway.kernels.norms import RMS_EPS
from fairway.kernels.operators import TritonKernel, block_of, constexpr, fused_operator, operand, runs_triton, tl

_LANES_ROWS = 2
_LANES_PROGRAMS = 528
"""Programs of a backward pass: four for each processor of an H100."""
_LANES_TERMS = 9
"""Rows of the weights."""


@TritonKernel
def _lanes_forward(
    p: operand,
    q: operand,
    a: operand,
    m: operand,
    skip: operand,
    x0: operand,
    weights: operand,
    p_out: operand,
    q_out: operand,
    p_norm: operand,
    q_norm: operand,
    rows: operand,
    scale: operand,
    eps: operand,
    SKIPS: constexpr,
    SIZE: constexpr,
    ROWS: constexpr,
    BLOCK: constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, BLOCK)
    whole = column < SIZE
    inside = (row < rows)[:, None] & whole[None, :]
    at = row[:, None] * SIZE + column[None, :]
    w = weights + column
    from_a = tl.load(a + at, mask=inside, other=0.0).to(tl.float32)
    from_m = tl.load(m + at, mask=inside, other=0.0).to(tl.float32)
    left = tl.load(p + at, mask=inside, other=0.0).to(tl.float32) * tl.load(w, mask=whole, other=0.0)[None, :]
    left += from_a * tl.load(w + SIZE, mask=whole, other=0.0)[None, :]
    left += from_m * tl.load(w + 2 * SIZE, mask=whole, other=0.0)[None, :]
    if SKIPS:
        from_skip = tl.load(skip + at, mask=inside, other=0.0).to(tl.float32)
        left += from_skip * tl.load(w + 3 * SIZE, mask=whole, other=0.0)[None, :]
    tl.store(p_out + at, left.to(p_out.dtype.element_ty), mask=inside)
    left = left.to(p_out.dtype.element_ty).to(tl.float32) * tl.load(w + 7 * SIZE, mask=whole, other=0.0)[None, :]
    from_x0 = tl.load(x0 + at, mask=inside, other=0.0).to(tl.float32)
    left += from_x0 * tl.load(w + 8 * SIZE, mask=whole, other=0.0)[None, :]
    left *= (tl.rsqrt(tl.sum(left * left, 1) / SIZE + eps) * scale)[:, None]
    tl.store(p_norm + at, left.to(p_norm.dtype.element_ty), mask=inside)
    right = (
        tl.load(q + at, mask=inside, other=0.0).to(tl.float32) * tl.load(w + 4 * SIZE, mask=whole, other=0.0)[None, :]
    )
    right += from_a * tl.load(w + 5 * SIZE, mask=whole, other=0.0)[None, :]
    right += from_m * tl.load(w + 6 * SIZE, mask=whole, other=0.0)[None, :]
    tl.store(q_out + at, right.to(q_out.dtype.element_ty), mask=inside)
    right = right.to(q_out.dtype.element_ty).to(tl.float32)
    right *= (tl.rsqrt(tl.sum(right * right, 1) / SIZE + eps) * scale)[:, None]
    tl.store(q_norm + at, right.to(q_norm.dtype.element_ty), mask=inside)


@TritonKernel
def _lanes_backward(
    p_grad: operand,
    q_grad: operand,
    p_norm_grad: operand,
    q_norm_grad: operand,
    p: operand,
    q: operand,
    a: operand,
    m: operand,
    skip: operand,
    x0: operand,
    weights: operand,
    p_out: operand,
    q_out: operand,
    p_back: operand,
    q_back: operand,
    a_back: operand,
    m_back: operand,
    skip_back: operand,
    x0_back: operand,
    sums: operand,
    rows: operand,
    scale: operand,
    eps: operand,
    SKIPS: constexpr,
    SIZE: constexpr,
    ROWS: constexpr,
    BLOCK: constexpr,
) -> None:
    column = tl.arange(0, BLOCK)
    whole = column < SIZE
    w = weights + column
    w_7 = tl.load(w + 7 * SIZE, mask=whole, other=0.0)[None, :]
    w_8 = tl.load(w + 8 * SIZE, mask=whole, other=0.0)[None, :]
    s_0 = tl.zeros((BLOCK,), dtype=tl.float32)
    s_1 = tl.zeros((BLOCK,), dtype=tl.float32)
    s_2 = tl.zeros((BLOCK,), dtype=tl.float32)
    s_3 = tl.zeros((BLOCK,), dtype=tl.float32)
    s_4 = tl.zeros((BLOCK,), dtype=tl.float32)
    s_5 = tl.zeros((BLOCK,), dtype=tl.float32)
    s_6 = tl.zeros((BLOCK,), dtype=tl.float32)
    s_7 = tl.zeros((BLOCK,), dtype=tl.float32)
    s_8 = tl.zeros((BLOCK,), dtype=tl.float32)
    for block in range(tl.program_id(0), tl.cdiv(rows, ROWS), tl.num_programs(0)):
        row = (block * ROWS + tl.arange(0, ROWS)).to(tl.int64)
        inside = (row < rows)[:, None] & whole[None, :]
        at = row[:, None] * SIZE + column[None, :]
        lane = tl.load(p_out + at, mask=inside, other=0.0).to(tl.float32)
        start = tl.load(x0 + at, mask=inside, other=0.0).to(tl.float32)
        mixed = lane * w_7 + start * w_8
        g = tl.load(p_norm_grad + at, mask=inside, other=0.0).to(tl.float32)
        rho = tl.rsqrt(tl.sum(mixed * mixed, 1) / SIZE + eps)[:, None]
        g = (g - mixed * (tl.sum(g * mixed, 1)[:, None] * rho * rho / SIZE)) * rho * scale
        s_7 += tl.sum(g * lane, 0)
        s_8 += tl.sum(g * start, 0)
        tl.store(x0_back + at, (g * w_8).to(x0_back.dtype.element_ty), mask=inside)
        g = g * w_7 + tl.load(p_grad + at, mask=inside, other=0.0).to(tl.float32)
        lane = tl.load(q_out + at, mask=inside, other=0.0).to(tl.float32)
        h = tl.load(q_norm_grad + at, mask=inside, other=0.0).to(tl.float32)
        rho = tl.rsqrt(tl.sum(lane * lane, 1) / SIZE + eps)[:, None]
        h = (h - lane * (tl.sum(h * lane, 1)[:, None] * rho * rho / SIZE)) * rho * scale
        h += tl.load(q_grad + at, mask=inside, other=0.0).to(tl.float32)
        part = tl.load(p + at, mask=inside, other=0.0).to(tl.float32)
        s_0 += tl.sum(g * part, 0)
        back = g * tl.load(w, mask=whole, other=0.0)[None, :]
        tl.store(p_back + at, back.to(p_back.dtype.element_ty), mask=inside)
        part = tl.load(q + at, mask=inside, other=0.0).to(tl.float32)
        s_4 += tl.sum(h * part, 0)
        back = h * tl.load(w + 4 * SIZE, mask=whole, other=0.0)[None, :]
        tl.store(q_back + at, back.to(q_back.dtype.element_ty), mask=inside)
        part = tl.load(a + at, mask=inside, other=0.0).to(tl.float32)
        s_1 += tl.sum(g * part, 0)
        s_5 += tl.sum(h * part, 0)
        back = g * tl.load(w + SIZE, mask=whole, other=0.0)[None, :]
        back += h * tl.load(w + 5 * SIZE, mask=whole, other=0.0)[None, :]
        tl.store(a_back + at, back.to(a_back.dtype.element_ty), mask=inside)
        part = tl.load(m + at, mask=inside, other=0.0).to(tl.float32)
        s_2 += tl.sum(g * part, 0)
        s_6 += tl.sum(h * part, 0)
        back = g * tl.load(w + 2 * SIZE, mask=whole, other=0.0)[None, :]
        back += h * tl.load(w + 6 * SIZE, mask=whole, other=0.0)[None, :]
        tl.store(m_back + at, back.to(m_back.dtype.element_ty), mask=inside)
        if SKIPS:
            part = tl.load(skip + at, mask=inside, other=0.0).to(tl.float32)
            s_3 += tl.sum(g * part, 0)
            back = g * tl.load(w + 3 * SIZE, mask=whole, other=0.0)[None, :]
            tl.store(skip_back + at, back.to(skip_back.dtype.element_ty), mask=inside)
    place = sums + tl.program_id(0) * 9 * SIZE + column
    tl.store(place, s_0, mask=whole)
    tl.store(place + SIZE, s_1, mask=whole)
    tl.store(place + 2 * SIZE, s_2, mask=whole)
    tl.store(place + 3 * SIZE, s_3, mask=whole)
    tl.store(place + 4 * SIZE, s_4, mask=whole)
    tl.store(place + 5 * SIZE, s_5, mask=whole)
    tl.store(place + 6 * SIZE, s_6, mask=whole)
    tl.store(place + 7 * SIZE, s_7, mask=whole)
    tl.store(place + 8 * SIZE, s_8, mask=whole)


def _lanes_go(
    p: Tensor, q: Tensor, a: Tensor, m: Tensor, skip: Tensor | None, x0: Tensor, weights: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rows, size = p.shape
    if runs_triton(p):
        outputs = _lanes_go_fake(p, q, a, m, skip, x0, weights, scale)
        streams = [each.contiguous() for each in (p, q, a, m, p if skip is None else skip, x0)]
        sizes = (rows, scale, RMS_EPS, skip is not None, size, _LANES_ROWS, block_of(size))
        _lanes_forward[(-(-rows // _LANES_ROWS),)](*streams, weights.contiguous(), *outputs, *sizes, num_warps=8)
        return outputs
    w = weights
    left = p.float() * w[0] + a.float() * w[1] + m.float() * w[2]
    left = (left if skip is None else left + skip.float() * w[3]).to(p.dtype)
    right = (q.float() * w[4] + a.float() * w[5] + m.float() * w[6]).to(p.dtype)
    mixed = left.float() * w[7] + x0.float() * w[8]
    return left, right, norm_of(mixed, scale).to(p.dtype), norm_of(right, scale)


def _lanes_go_fake(
    p: Tensor, q: Tensor, a: Tensor, m: Tensor, skip: Tensor | None, x0: Tensor, weights: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return p.new_empty(p.shape), p.new_empty(p.shape), p.new_empty(p.shape), p.new_empty(p.shape)


def _lanes_back(grads: list[Tensor], given: list[Tensor], weights: Tensor, skips: bool, scale: float) -> list[Tensor]:
    p, q, a, m, skip, x0, p_out, q_out = given
    rows, size = p.shape
    if runs_triton(p):
        programs = min(_LANES_PROGRAMS, -(-rows // _LANES_ROWS))
        backs = [p.new_empty(p.shape) for _ in range(6)]
        sums = p.new_empty(programs, _LANES_TERMS, size, dtype=torch.float32)
        streams = [each.contiguous() for each in (*grads, p, q, a, m, skip, x0)]
        sizes = (rows, scale, RMS_EPS, skips, size, _LANES_ROWS, block_of(size))
        _lanes_backward[(programs,)](*(*streams, weights.contiguous(), p_out, q_out, *backs, sums, *sizes), num_warps=8)
        return [*backs, sums.sum(0)]
    w = weights
    p_grad, q_grad, p_norm_grad, q_norm_grad = (each.float() for each in grads)
    lane, start = p_out.float(), x0.float()
    mixed = norm_gradient(p_norm_grad, lane * w[7] + start * w[8], scale)
    g = p_grad + mixed * w[7]
    h = q_grad + norm_gradient(q_norm_grad, q_out.float(), scale)
    pairs = ((g, p), (g, a), (g, m), (g, skip), (h, q), (h, a), (h, m), (mixed, lane), (mixed, start))
    sums = torch.stack([(each * stream.float()).sum(0) for each, stream in pairs])
    backs = [g * w[0], h * w[4], g * w[1] + h * w[5], g * w[2] + h * w[6], g * w[3], mixed * w[8]]
    return [*(back.to(p.dtype) for back in backs), sums]


def _lanes_back_fake(
    grads: list[Tensor], given: list[Tensor], weights: Tensor, skips: bool, scale: float
) -> list[Tensor]:
    return [*(given[0].new_empty(given[0].shape) for _ in range(6)), torch.empty_like(weights)]


def _lanes_save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.scale = inputs
    ctx.save_for_backward(*tensors, output[0], output[1])


def _lanes_gradient(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    p, q, a, m, skip, x0, weights, p_out, q_out = ctx.saved_tensors
    given = [p, q, a, m, p if skip is None else skip, x0, p_out, q_out]
    *backs, sums = lanes_back(list(grads), given, weights, skip is not None, ctx.scale)
    if skip is None:
        backs[4] = None
        sums[3] = 0.0
    return *backs, sums, None


lanes_go = fused_operator(
    "lanes_go",
    "(Tensor p, Tensor q, Tensor a, Tensor m, Tensor? skip, Tensor x0, Tensor weights, float scale)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    _lanes_go,
    _lanes_go_fake,
    gradient=_lanes_gradient,
    save=_lanes_save,
)
"""(N, D) streams and (9, D) weights to both lanes and both norms: see ``lanes_norm``."""
lanes_back = fused_operator(
    "lanes_back",
    "(Tensor[] grads, Tensor[] given, Tensor weights, bool skips, float scale) -> Tensor[]",
    _lanes_back,
    _lanes_back_fake,
)
"""Gradients of the six streams and of the weights, for those of the four results."""


class LanesEntered(NamedTuple):
    """What a layer on two lanes begins with."""

    attn_lane: Float[Tensor, "*T D"]
    mlp_lane: Float[Tensor, "*T D"]
    attn_in: Float[Tensor, "*T D"]
    """Normalised; of the first lane mixed with the embedding."""
    mlp_in: Float[Tensor, "*T D"]
    """Normalised; of the second lane."""


def lanes_norm(
    attn_lane: Float[Tensor, "*T D"],
    mlp_lane: Float[Tensor, "*T D"],
    a: Float[Tensor, "*T D"],
    m: Float[Tensor, "*T D"],
    skip: Float[Tensor, "*T D"] | None,
    x0: Float[Tensor, "*T D"],
    weights: Float[Tensor, "9 D"],
    scale: float,
) -> LanesEntered:
    """Lanes ``p' = w0 p + w1 a + w2 m + w3 skip`` and ``q' = w4 q + w5 a + w6 m``, and what the next layer reads.

    That is ``scaled_rms_norm`` of ``w7 p' + w8 x0`` and of ``q'``. Weights are float32.
    """
    shape = attn_lane.shape[:-1]
    flat = [None if each is None else each.flatten(0, -2) for each in (attn_lane, mlp_lane, a, m, skip, x0)]
    return LanesEntered(*(each.unflatten(0, shape) for each in lanes_go(*flat, weights, scale)))
