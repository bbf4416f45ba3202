"""Exclusive self attention and the gate of each head in one pass each way: what the output projection reads.

The counterpart of ``exclude_self`` and a sigmoid. It stays apart from the product itself, which needs its input in
memory for the gradient of its weights anyway (performance notes 2.E).
"""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.operators import TritonKernel, block_of, constexpr, fused_operator, operand, runs_triton, tl

_XSA_LEAST = 1e-12
_XSA_TOKENS = 32
"""Tokens that one program treats, with all query heads of one group."""


@TritonKernel
def _exclusive_forward(
    y: operand,
    v: operand,
    gate: operand,
    out: operand,
    tokens: operand,
    groups: operand,
    least: operand,
    GATED: constexpr,
    SHARE: constexpr,
    SIZE: constexpr,
    TOKENS: constexpr,
    BLOCK: constexpr,
) -> None:
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    group = tl.program_id(1)
    column = tl.arange(0, BLOCK)
    here = token < tokens
    inside = here[:, None] & (column < SIZE)[None, :]
    at_v = (token * groups + group)[:, None] * SIZE + column[None, :]
    own = tl.load(v + at_v, mask=inside, other=0.0).to(tl.float32)
    inverse = 1.0 / tl.maximum(tl.sum(own * own, 1), least)
    for share in tl.static_range(SHARE):
        head = (token * groups + group) * SHARE + share
        at = head[:, None] * SIZE + column[None, :]
        z = tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
        z -= (tl.sum(z * own, 1) * inverse)[:, None] * own
        if GATED:
            open_ = 1.0 / (1.0 + tl.exp(-tl.load(gate + head, mask=here, other=0.0).to(tl.float32)))
            z *= open_[:, None]
        tl.store(out + at, z.to(out.dtype.element_ty), mask=inside)


@TritonKernel
def _exclusive_backward(
    grad: operand,
    y: operand,
    v: operand,
    gate: operand,
    y_grad: operand,
    v_grad: operand,
    gate_grad: operand,
    tokens: operand,
    groups: operand,
    least: operand,
    GATED: constexpr,
    SHARE: constexpr,
    SIZE: constexpr,
    TOKENS: constexpr,
    BLOCK: constexpr,
) -> None:
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    group = tl.program_id(1)
    column = tl.arange(0, BLOCK)
    here = token < tokens
    inside = here[:, None] & (column < SIZE)[None, :]
    at_v = (token * groups + group)[:, None] * SIZE + column[None, :]
    own = tl.load(v + at_v, mask=inside, other=0.0).to(tl.float32)
    inverse = 1.0 / tl.maximum(tl.sum(own * own, 1), least)
    total = tl.zeros((TOKENS, BLOCK), dtype=tl.float32)
    for share in tl.static_range(SHARE):
        head = (token * groups + group) * SHARE + share
        at = head[:, None] * SIZE + column[None, :]
        x = tl.load(y + at, mask=inside, other=0.0).to(tl.float32)
        g = tl.load(grad + at, mask=inside, other=0.0).to(tl.float32)
        c = tl.sum(x * own, 1) * inverse
        if GATED:
            open_ = 1.0 / (1.0 + tl.exp(-tl.load(gate + head, mask=here, other=0.0).to(tl.float32)))
            kept = tl.sum(g * (x - c[:, None] * own), 1)
            tl.store(gate_grad + head, (kept * open_ * (1.0 - open_)).to(gate_grad.dtype.element_ty), mask=here)
            g *= open_[:, None]
        e = tl.sum(g * own, 1) * inverse
        tl.store(y_grad + at, (g - e[:, None] * own).to(y_grad.dtype.element_ty), mask=inside)
        total += (2.0 * c * e)[:, None] * own - c[:, None] * g - e[:, None] * x
    tl.store(v_grad + at_v, total.to(v_grad.dtype.element_ty), mask=inside)


def _exclusive_launch(kernel: TritonKernel, given: tuple[Any, ...], y: Tensor, v: Tensor, gate: Tensor | None) -> None:
    tokens, groups, size = v.shape
    sizes = (tokens, groups, _XSA_LEAST, gate is not None, y.shape[1] // groups, size, _XSA_TOKENS, block_of(size))
    kernel[(-(-tokens // _XSA_TOKENS), groups)](*given, *sizes, num_warps=4)


def _exclusive_parts(y: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both in float32 with heads in their groups, the share of ``y`` along ``v``, and one over the square of ``v``."""
    x, own = y.float().unflatten(1, (v.shape[1], -1)), v.float().unsqueeze(2)
    inverse = own.square().sum(-1, keepdim=True).clamp_min(_XSA_LEAST).reciprocal()
    return x, own, (x * own).sum(-1, keepdim=True) * inverse, inverse


def _exclusive_go(y: Tensor, v: Tensor, gate: Tensor | None) -> Tensor:
    if runs_triton(y):
        y, v = y.contiguous(), v.contiguous()
        out = torch.empty_like(y)
        _exclusive_launch(_exclusive_forward, (y, v, y if gate is None else gate.contiguous(), out), y, v, gate)
        return out
    x, own, c, _ = _exclusive_parts(y, v)
    z = (x - c * own).flatten(1, 2)
    return (z if gate is None else z * torch.sigmoid(gate.float())[..., None]).to(y.dtype)


def _exclusive_go_fake(y: Tensor, v: Tensor, gate: Tensor | None) -> Tensor:
    return torch.empty_like(y, memory_format=torch.contiguous_format)


def _exclusive_back(grad: Tensor, y: Tensor, v: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    if runs_triton(y):
        grad, y, v = grad.contiguous(), y.contiguous(), v.contiguous()
        grads = _exclusive_back_fake(grad, y, v, gate)
        _exclusive_launch(
            _exclusive_backward, (grad, y, v, y if gate is None else gate.contiguous(), *grads), y, v, gate
        )
        return grads
    x, own, c, inverse = _exclusive_parts(y, v)
    g = grad.float().unflatten(1, (v.shape[1], -1))
    gate_grad = y.new_zeros(y.shape[:2])
    if gate is not None:
        share = torch.sigmoid(gate.float())
        kept = (g * (x - c * own)).sum(-1).flatten(1)
        gate_grad = (kept * share * (1.0 - share)).to(gate.dtype)
        g = g * share.unflatten(1, (v.shape[1], -1))[..., None]
    e = (g * own).sum(-1, keepdim=True) * inverse
    v_grad = (2.0 * c * e * own - c * g - e * x).sum(2)
    return (g - e * own).flatten(1, 2).to(y.dtype), v_grad.to(v.dtype), gate_grad


def _exclusive_back_fake(grad: Tensor, y: Tensor, v: Tensor, gate: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    gate_grad = y.new_zeros(y.shape[:2]) if gate is None else gate.new_empty(gate.shape)
    return y.new_empty(y.shape), v.new_empty(v.shape), gate_grad


def _exclusive_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _exclusive_gradient(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    y, v, gate = ctx.saved_tensors
    y_grad, v_grad, gate_grad = exclusive_back(grad, y, v, gate)
    return y_grad, v_grad, None if gate is None else gate_grad


exclusive_go = fused_operator(
    "exclusive_go",
    "(Tensor y, Tensor v, Tensor? gate) -> Tensor",
    _exclusive_go,
    _exclusive_go_fake,
    gradient=_exclusive_gradient,
    save=_exclusive_save,
)
"""(N, H, K), (N, G, K) and, where heads are gated, the logits of their gates, (N, H), to (N, H, K)."""
exclusive_back = fused_operator(
    "exclusive_back",
    "(Tensor grad, Tensor y, Tensor v, Tensor? gate) -> (Tensor, Tensor, Tensor)",
    _exclusive_back,
    _exclusive_back_fake,
)
"""Gradients of all three; that of a gate which is not there is zero."""


def fused_exclude_self(
    y: Float[Tensor, "*T H K"], v: Float[Tensor, "*T G K"], gate: Float[Tensor, "*T H"] | None
) -> Float[Tensor, "*T H K"]:
    """``exclude_self(y, v)``, times the sigmoid of each head's gate where there is one."""
    flat = None if gate is None else gate.flatten(0, -2)
    out = cast(Tensor, exclusive_go(y.flatten(0, -3), v.flatten(0, -3), flat))
    return out.unflatten(0, y.shape[:-2])
