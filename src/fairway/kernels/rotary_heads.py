"""Queries and keys made ready for attention: unit heads, a gain, a part of each head rotated."""

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.norms import inverse_rms


def _rotate_leading(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    """Turn the leading dimensions of each head in place: the first half of them paired with the second."""
    half = cos.shape[-1]
    a, b = x[..., :half], x[..., half : 2 * half]
    turned = torch.addcmul(a * cos, b, sin, value=sign)
    b.mul_(cos).addcmul_(a, sin, value=-sign)
    a.copy_(turned)
    return x


class _RotaryHeads(torch.autograd.Function):
    """Rotation commutes with a factor for the whole head: norm and gain are one factor, and rotation comes last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
        rho = inverse_rms(x)
        factor = rho if gain is None else rho * gain[:, None]
        ctx.save_for_backward(x, rho, gain, cos, sin)
        return _rotate_leading((x * factor).to(x.dtype), cos, sin, 1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        # With y = gain rho x: dgain = sum(rho (dy.x)), dx = gain rho dy - x gain rho**3 (dy.x) / K.
        x, rho, gain, cos, sin = ctx.saved_tensors
        grad = _rotate_leading(grad.clone(memory_format=torch.contiguous_format), cos, sin, -1.0)
        along = (grad * x).sum(-1, keepdim=True, dtype=rho.dtype).mul_(rho)
        gain_grad = None if gain is None else along.flatten(0, -3).sum(0).squeeze(-1).to(gain.dtype)
        factor = rho if gain is None else rho * gain[:, None]
        along.mul_(rho).mul_(factor).mul_(-1.0 / x.shape[-1])
        return grad.mul_(factor.to(grad.dtype)).addcmul_(x, along.to(grad.dtype)), gain_grad, None, None


def rotary_heads(
    x: Float[Tensor, "*T heads K"],
    gain: Float[Tensor, " heads"] | None,
    cos: Float[Tensor, "T 1 half"],
    sin: Float[Tensor, "T 1 half"],
) -> Float[Tensor, "*T heads K"]:
    """Each head divided by its root mean square, times its gain, its leading ``2 * half`` dimensions rotated.

    Dimension ``i`` is paired with ``half + i`` (half-split layout): ``(a cos + b sin, b cos - a sin)``. Tables get
    no gradient.
    """
    return cast(Tensor, _RotaryHeads.apply(x, gain, cos, sin))
