"""Cross-entropy of softcapped logits, forward and gradient in one pass over cache-sized blocks."""

from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

_CE_BLOCK_ENTRIES = 1 << 18
"""Logits treated at once: a megabyte of float32 stays in a core's cache over the few passes a block needs."""


def softcap(logits: Float[Tensor, "*shape"], cap: float) -> Float[Tensor, "*shape"]:
    """``cap * tanh(logits / cap)``: near the identity around 0, never beyond ``cap``."""
    return torch.tanh(logits / cap) * cap


class _SoftcapCe(torch.autograd.Function):
    """The gradient is known with the value, so it is written in the forward and only scaled in the backward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, cap: float) -> Tensor:
        rows, vocab = logits.shape
        nats = logits.new_empty(rows, dtype=torch.float32)
        grad = torch.empty_like(logits, dtype=torch.float32) if ctx.needs_input_grad[0] else None
        block = max(1, _CE_BLOCK_ENTRIES // vocab)
        for start in range(0, rows, block):
            stop = min(start + block, rows)
            target = targets[start:stop, None]
            t = (logits[start:stop].float() * (1.0 / cap)).tanh_()
            z = t * cap
            z_target = z.gather(1, target).squeeze(1)
            # z lies in -cap..cap, so e^(z - max) neither overflows nor do all terms vanish.
            top = z.amax(dim=1, keepdim=True)
            p = z.sub_(top).exp_()
            total = p.sum(dim=1, keepdim=True)
            torch.sub(total.log().add_(top).squeeze(1), z_target, out=nats[start:stop])
            if grad is not None:
                p.div_(total).scatter_add_(1, target, p.new_full((), -1.0).expand(stop - start, 1))
                torch.addcmul(p, p, t.square_(), value=-1.0, out=grad[start:stop])
        ctx.save_for_backward(grad)
        ctx.logits_dtype = logits.dtype
        return nats

    @staticmethod
    def backward(ctx: Any, nats_grad: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return (grad * nats_grad[:, None]).to(ctx.logits_dtype), None, None


def softcap_ce(raw_logits_NV: Float[Tensor, "N V"], targets_N: Int[Tensor, " N"], cap: float) -> Float[Tensor, " N"]:
    """Nats of each target under ``softmax(softcap(raw_logits))``, float32."""
    return cast(Tensor, _SoftcapCe.apply(raw_logits_NV, targets_N.long(), cap))
