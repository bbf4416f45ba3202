"""Up, leaky square, down."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.fused_mlp import fused_mlp
from fairway.kernels.leaky_square import leaky_square
from fairway.model.hooks import PLAIN
from fairway.model.weights import BlockContext, LayerWeights


def mlp_output(x: Float[Tensor, "*T D"], weights: LayerWeights, context: BlockContext) -> Float[Tensor, "*T D"]:
    """What the MLP of one layer adds, before ``mlp_scale``."""
    spec, hooks = context.spec, context.hooks
    if spec.angle_pairs:
        assert weights.angle_weight is not None
        x = turn_pairs(x, F.linear(x, weights.angle_weight))
    if spec.kernels.mlp == "triton" and hooks is PLAIN:
        return fused_mlp(x, weights.up, weights.down, spec.negative_slope)
    hooks.observe(context.site("mlp_in"), x)
    h = leaky_square(F.linear(hooks.rotate("mlp_in", x), weights.up), spec.negative_slope)
    if spec.star_relu:
        assert weights.star_scale is not None and weights.star_bias is not None
        h = h * weights.star_scale + weights.star_bias
    hooks.observe(context.site("mlp_proj_in"), h)
    y = F.linear(hooks.rotate("mlp_proj_in", h), weights.down)
    return hooks.adapt(context.site("mlp"), x, y)


def turn_pairs(x: Float[Tensor, "*T D"], angles: Float[Tensor, "*T P"]) -> Float[Tensor, "*T D"]:
    """Channel ``i`` and ``P + i`` turned by angle ``i`` of ``P``; channels from ``2 P`` on stay (#215)."""
    pairs = angles.shape[-1]
    u, v, rest = x.split((pairs, pairs, x.shape[-1] - 2 * pairs), dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((u * cos - v * sin, u * sin + v * cos, rest), dim=-1)
