"""The square of a leaky ReLU: the MLP's activation."""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


class _LeakySquare(torch.autograd.Function):
    """The derivative is a leaky ReLU again, of twice the input and with the slope squared."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.slope = slope
        y = F.leaky_relu(u, slope)
        return y.mul_(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return F.leaky_relu(u, ctx.slope**2).mul_(grad).mul_(2.0), None


def leaky_square(u: Float[Tensor, "*shape"], slope: float) -> Float[Tensor, "*shape"]:
    """``u**2`` where ``u`` is positive, ``(slope * u)**2`` elsewhere."""
    return cast(Tensor, _LeakySquare.apply(u, slope))
