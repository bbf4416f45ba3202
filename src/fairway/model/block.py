"""One layer, on one residual stream or on two lanes."""

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.channel_sum import channel_sum
from fairway.kernels.fused_junction import mix_norm
from fairway.kernels.norms import scaled_rms_norm
from fairway.model.attention import attention_output
from fairway.model.mlp import mlp_output
from fairway.model.weights import BlockContext, LayerWeights


def lerp_skip(
    x: Float[Tensor, "*T D"], skip: Float[Tensor, "*T D"], weight: Float[Tensor, " D"], gate: Float[Tensor, " D"]
) -> Float[Tensor, "*T D"]:
    """``g x + (1 - g) weight skip`` with ``g = sigmoid(gate)``: the gated U-Net skip."""
    g = torch.sigmoid(gate)
    return channel_sum((x, g), (skip, (1.0 - g) * weight))


def one_lane(x: Float[Tensor, "B T D"], weights: LayerWeights, context: BlockContext) -> Float[Tensor, "B T D"]:
    """Mix with the embedding, attention, then MLP, each added to the stream."""
    if context.spec.kernels.junction == "triton":
        return _fused_lane(x, weights, context)
    x = channel_sum((x, weights.resid_mix[0]), (context.x0, weights.resid_mix[1]))
    x = channel_sum((x, None), (_block_attention(x, weights, context), weights.attn_scale))
    return channel_sum((x, None), (_block_mlp(x, weights, context), weights.mlp_scale))


def _fused_lane(x: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
    scale = input_scale(context)
    x, attn_in = mix_norm(x, weights.resid_mix[0], context.x0, weights.resid_mix[1], scale)
    x, mlp_in = mix_norm(x, None, attention_output(attn_in, weights, context), weights.attn_scale, scale)
    return channel_sum((x, None), (mlp_output(mlp_in, weights, context), weights.mlp_scale))


def two_lanes(
    attn_lane: Float[Tensor, "B T D"], mlp_lane: Float[Tensor, "B T D"], weights: LayerWeights, context: BlockContext
) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B T D"]]:
    """Attention reads the first lane, MLP the second; both write to both (#1529).

    Lane ``j`` becomes ``decay_j lane_j + mix_0j A + mix_1j M``, with ``A`` and ``M`` the scaled outputs. Only
    attention's input is mixed with the embedding; the decayed lanes are not.
    """
    assert weights.lane_decay is not None and weights.lane_mix is not None
    mixed = channel_sum((attn_lane, weights.resid_mix[0]), (context.x0, weights.resid_mix[1]))
    a = _block_attention(mixed, weights, context)
    m = _block_mlp(mlp_lane, weights, context)
    decay = weights.lane_decay[:, None].expand(-1, m.shape[-1])
    from_a = weights.lane_mix[0][:, None] * weights.attn_scale
    from_m = weights.lane_mix[1][:, None] * weights.mlp_scale
    return (
        channel_sum((attn_lane, decay[0]), (a, from_a[0]), (m, from_m[0])),
        channel_sum((mlp_lane, decay[1]), (a, from_a[1]), (m, from_m[1])),
    )


def _block_attention(x: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
    return attention_output(_block_input(x, context), weights, context)


def _block_mlp(x: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
    return mlp_output(_block_input(x, context), weights, context)


def _block_input(x: Tensor, context: BlockContext) -> Tensor:
    return scaled_rms_norm(x, input_scale(context))


def input_scale(context: BlockContext) -> float:
    """What a layer's normalised inputs are multiplied with."""
    return (context.layer + 1) ** -0.5 if context.spec.ln_scale else 1.0
