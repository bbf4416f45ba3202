"""Root-mean-square normalisation whose gradient is four passes instead of the dozen that autograd composes."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

RMS_EPS = torch.finfo(torch.float32).eps
"""Added to each mean square, in every norm of the model."""


def inverse_rms(x: Float[Tensor, "*T D"]) -> Float[Tensor, "*T 1"]:
    """``1 / sqrt(mean(x**2) + eps)`` over the last axis, at least in float32."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype)
    return norm.square_().div_(x.shape[-1]).add_(RMS_EPS).rsqrt_()


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        r = inverse_rms(x).mul_(scale)
        y = (x * r).to(x.dtype)
        ctx.save_for_backward(y, r)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # With y = scale rho x: dx = scale rho (dy - y mean(dy y) / scale**2).
        y, r = ctx.saved_tensors
        along = (grad * y).sum(-1, keepdim=True, dtype=r.dtype).mul_(-1.0 / (ctx.scale**2 * y.shape[-1]))
        return (torch.addcmul(grad, y, along.to(y.dtype)) * r).to(grad.dtype), None


def scaled_rms_norm(x: Float[Tensor, "*T D"], scale: float = 1.0) -> Float[Tensor, "*T D"]:
    """``x`` divided by its root mean square over the last axis, times a positive constant; no learned gain."""
    return cast(Tensor, _RmsNorm.apply(x, scale))
