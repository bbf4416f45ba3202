"""Sums of streams, each weighted by channel: what joins the residual stream, its skips and its lanes."""

import functools
import operator
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor


class _ChannelSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, terms: int, *given: Tensor | None) -> Tensor:
        streams, weights = given[:terms], given[terms:]
        ctx.terms = terms
        ctx.save_for_backward(*given)
        total: Tensor | None = None
        for x, w in zip(streams, weights, strict=True):
            assert x is not None
            if total is None:
                total = x if w is None else x * w
            else:
                total = total + x if w is None else torch.addcmul(total, x, w)
        assert total is not None
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        streams, weights = saved[: ctx.terms], saved[ctx.terms :]
        needs_x, needs_w = ctx.needs_input_grad[1 : 1 + ctx.terms], ctx.needs_input_grad[1 + ctx.terms :]
        x_grads = [
            None if not needed else grad if w is None else grad * w for w, needed in zip(weights, needs_x, strict=True)
        ]
        w_grads = [
            (grad * x).flatten(0, -2).sum(0) if needed else None for x, needed in zip(streams, needs_w, strict=True)
        ]
        return None, *x_grads, *w_grads


def channel_sum(*terms: tuple[Float[Tensor, "*T D"], Float[Tensor, " D"] | None]) -> Float[Tensor, "*T D"]:
    """``sum of weight * stream`` over (stream, weight) pairs of at least two; no weight counts as one.

    Autograd's own rule for a fused multiply-add spends one more pass over memory on each term.
    """
    assert len(terms) >= 2
    if torch.compiler.is_compiling():
        # A compiler fuses the plain sum itself, and refuses custom functions that are given one tensor twice.
        return functools.reduce(operator.add, (x if w is None else x * w for x, w in terms))
    return cast(Tensor, _ChannelSum.apply(len(terms), *(x for x, _ in terms), *(w for _, w in terms)))
