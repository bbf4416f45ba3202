"""Head and softcapped cross-entropy in one: the gradient takes the place of the logits, no float32 copy is made.

Each row is read once and written once (performance notes 2.H). What the loss of each row counts for multiplies the
small factors of the two gradient products, so the big one is never touched again.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from fairway.kernels.operators import TritonKernel, block_of, constexpr, fused_operator, operand, runs_triton, tl

_CE_WARPS = 16
"""So that 8,192 logits and what is made of them stay in registers."""


@TritonKernel
def _softcap_ce_row(
    logits: operand,
    targets: operand,
    nats: operand,
    vocab: operand,
    cap: operand,
    GRADIENT: constexpr,
    BLOCK: constexpr,
) -> None:
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    inside = column < vocab
    here = logits + row * vocab + column
    x = tl.load(here, mask=inside, other=0.0).to(tl.float32)
    e = tl.exp(tl.abs(x) * (-2.0 / cap))
    t = (1.0 - e) / (1.0 + e)
    z = tl.where(inside, tl.where(x < 0.0, -t, t) * cap, -float("inf"))
    top = tl.max(z, 0)
    p = tl.exp(z - top)
    total = tl.sum(p, 0)
    is_target = column == tl.load(targets + row)
    tl.store(nats + row, tl.log(total) + top - tl.sum(tl.where(is_target, z, 0.0), 0))
    if GRADIENT:
        # The derivative of the cap, 1 - tanh**2, is 4 e / (1 + e)**2: nothing cancels where the cap holds.
        g = (p / total - tl.where(is_target, 1.0, 0.0)) * (4.0 * e / ((1.0 + e) * (1.0 + e)))
        tl.store(here, g.to(logits.dtype.element_ty), mask=inside)


def _softcap_ce_over(logits: Tensor, targets: Tensor, cap: float, gradient: bool) -> Tensor:
    rows, vocab = logits.shape
    assert logits.is_contiguous()
    if runs_triton(logits):
        nats = logits.new_empty(rows, dtype=torch.float32)
        block = block_of(vocab)
        _softcap_ce_row[(rows,)](logits, targets, nats, vocab, cap, gradient, block, num_warps=_CE_WARPS)
        return nats
    t = torch.tanh(logits.float() / cap)
    log_p = F.log_softmax(t * cap, dim=1)
    nats = -log_p.gather(1, targets[:, None]).squeeze(1)
    if gradient:
        p = log_p.exp_().scatter_add_(1, targets[:, None], log_p.new_full((), -1.0).expand(rows, 1))
        logits.copy_(torch.addcmul(p, p, t.square_(), value=-1.0))
    return nats


def _softcap_ce_fake(logits: Tensor, targets: Tensor, cap: float, gradient: bool) -> Tensor:
    return logits.new_empty(logits.shape[0], dtype=torch.float32)


softcap_ce_ = fused_operator(
    "softcap_ce_",
    "(Tensor(a!) logits, Tensor targets, float cap, bool gradient) -> Tensor",
    _softcap_ce_over,
    _softcap_ce_fake,
    mutates=("logits",),
)
"""Nats of each row, float32; if asked for, logits become the derivatives of their row's nats."""


class _HeadCe(torch.autograd.Function):
    """Traced, not opaque: a compiler sees the three products."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, embedding: Tensor, targets: Tensor, cap: float) -> Tensor:
        logits = F.linear(hidden, embedding)
        nats = softcap_ce_(logits, targets, cap, any(ctx.needs_input_grad))
        ctx.save_for_backward(hidden, embedding, logits)
        return cast(Tensor, nats)

    @staticmethod
    def backward(ctx: Any, nats_grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden, embedding, slopes = ctx.saved_tensors
        share = nats_grad[:, None]
        hidden_grad = ((slopes @ embedding) * share).to(hidden.dtype)
        return hidden_grad, slopes.mT @ (hidden * share).to(hidden.dtype), None, None


def head_ce(
    hidden_ND: Float[Tensor, "N D"], embedding_VD: Float[Tensor, "V D"], targets_N: Int[Tensor, " N"], cap: float
) -> Float[Tensor, " N"]:
    """Nats of each target under ``softmax(softcap(hidden embedding^T))``, float32."""
    return cast(Tensor, _HeadCe.apply(hidden_ND, embedding_VD, targets_N.long(), cap))
