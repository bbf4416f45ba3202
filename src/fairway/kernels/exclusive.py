"""Exclusive self attention: what a position's own value says is taken out of its attention output (recipes B.3)."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

_XSA_EPS = 1e-12


class _ExcludeSelf(torch.autograd.Function):
    """On tensors (..., G, R, K) and (..., G, 1, K): the R query heads of a group share their value by broadcasting."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, v: Tensor) -> Tensor:
        dtype = torch.promote_types(y.dtype, torch.float32)
        inverse = torch.linalg.vector_norm(v, dim=-1, keepdim=True, dtype=dtype)
        inverse = inverse.square_().clamp_min_(_XSA_EPS).reciprocal_()
        along = (y * v).sum(-1, keepdim=True, dtype=dtype).mul_(inverse)
        ctx.save_for_backward(y, v, along, inverse)
        return torch.addcmul(y, along.to(y.dtype), v, value=-1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        # With c = y.v / |v|**2 and e = dz.v / |v|**2: dy = dz - e v and dv = sum over R of 2 c e v - c dz - e y.
        y, v, along, inverse = ctx.saved_tensors
        grad_along = (grad * v).sum(-1, keepdim=True, dtype=inverse.dtype).mul_(inverse)
        c, e = along.to(y.dtype), grad_along.to(y.dtype)
        y_grad = torch.addcmul(grad, e, v, value=-1.0)
        v_grad = v * (along * grad_along).sum(-2, keepdim=True).mul_(2.0).to(v.dtype)
        for head in range(y.shape[-2]):
            here = slice(head, head + 1)
            v_grad.addcmul_(grad[..., here, :], c[..., here, :], value=-1.0)
            v_grad.addcmul_(y[..., here, :], e[..., here, :], value=-1.0)
        return y_grad, v_grad


def exclude_self(y: Float[Tensor, "*T H K"], v: Float[Tensor, "*T G K"]) -> Float[Tensor, "*T H K"]:
    """``y`` without its component along the value of its own position: ``y - (y.v) v / |v|**2``.

    The normalised value is never made; a value of zero excludes nothing.
    """
    y_GRK = y.unflatten(-2, (v.shape[-2], -1))
    return cast(Tensor, _ExcludeSelf.apply(y_GRK, v.unsqueeze(-2))).flatten(-3, -2)
