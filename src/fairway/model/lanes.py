"""Two lanes from where they part to the end, each junction between two layers in one pass."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.channel_sum import channel_sum
from fairway.kernels.fused_junction import mix_norm
from fairway.kernels.fused_lanes import LanesEntered, lanes_norm
from fairway.kernels.norms import scaled_rms_norm
from fairway.model.attention import attention_output
from fairway.model.block import input_scale
from fairway.model.depth import Depth
from fairway.model.mlp import mlp_output
from fairway.model.weights import BlockContext, LayerWeights
from fairway.spec.mechanisms import AddedSkips, GatedSkips


class SkipIn(NamedTuple):
    """A stream that joins the first lane before a layer: ``keep lane + weight stream``."""

    stream: Float[Tensor, "B T D"]
    keep: Float[Tensor, " D"]
    weight: Float[Tensor, " D"]


class LaneSlot(NamedTuple):
    """One run of one layer on two lanes."""

    skip: SkipIn | None
    weights: LayerWeights
    context: BlockContext


def lane_slots(
    depth: Depth,
    split: int,
    layers: Sequence[LayerWeights],
    skips: list[Tensor],
    named: Mapping[str, Tensor],
    shared: BlockContext,
) -> list[LaneSlot]:
    """Decoder slots from ``split`` on, each with the newest of the skips that are left, which it takes."""
    spec, slots = shared.spec, []
    for j in range(split, len(depth.decoder)):
        skip = None
        if isinstance(spec.skips, GatedSkips) and skips:
            keep = torch.sigmoid(named["skip_gate"][j])
            skip = SkipIn(skips.pop(), keep, (1.0 - keep) * named["skip_weight"][j])
        if isinstance(spec.skips, AddedSkips) and skips:
            weight = named["skip_weight"][j]
            skip = SkipIn(skips.pop(), torch.ones_like(weight), weight)
        layer = depth.decoder[j]
        slots.append(LaneSlot(skip, layers[layer], shared._replace(slot=len(depth.encoder) + j, layer=layer)))
    return slots


def fused_lanes(x: Float[Tensor, "B T D"], slots: Sequence[LaneSlot]) -> Float[Tensor, "B T D"]:
    """The mean of both lanes after ``block.two_lanes`` in every slot; ``x`` is the one stream that parts."""
    first = slots[0]
    attn_lane = x
    if first.skip is not None:
        attn_lane = channel_sum((x, first.skip.keep.to(x.dtype)), (first.skip.stream, first.skip.weight.to(x.dtype)))
    scale, mix = input_scale(first.context), first.weights.resid_mix
    attn_in = mix_norm(attn_lane, mix[0], first.context.x0, mix[1], scale)[1]
    entered = LanesEntered(attn_lane, x, attn_in, scaled_rms_norm(x, scale))
    for before, slot in zip(slots, slots[1:], strict=False):
        entered = lanes_norm(
            entered.attn_lane,
            entered.mlp_lane,
            attention_output(entered.attn_in, before.weights, before.context),
            mlp_output(entered.mlp_in, before.weights, before.context),
            None if slot.skip is None else slot.skip.stream,
            slot.context.x0,
            _junction_weights(before.weights, slot),
            input_scale(slot.context),
        )
    last = slots[-1]
    a = attention_output(entered.attn_in, last.weights, last.context)
    m = mlp_output(entered.mlp_in, last.weights, last.context)
    decay, from_a, from_m = (each.to(x.dtype).mul(0.5) for each in _lane_weights(last.weights))
    return channel_sum(
        (entered.attn_lane, decay[0]), (entered.mlp_lane, decay[1]), (a, from_a.sum(0)), (m, from_m.sum(0))
    )


def _lane_weights(weights: LayerWeights) -> tuple[Tensor, Tensor, Tensor]:
    """Of the lanes themselves, of attention and of the MLP, each to both lanes, (2, D), float32."""
    assert weights.lane_decay is not None and weights.lane_mix is not None
    mix, attn_scale = weights.lane_mix.float()[:, :, None], weights.attn_scale.float()
    return (
        weights.lane_decay.float()[:, None].expand(-1, attn_scale.shape[0]),
        mix[0] * attn_scale,
        mix[1] * weights.mlp_scale.float(),
    )


def _junction_weights(before: LayerWeights, slot: LaneSlot) -> Float[Tensor, "9 D"]:
    """What ``lanes_norm`` is given: a skip scales all that is in the first lane already."""
    left, right = torch.stack(_lane_weights(before)).unbind(1)
    if slot.skip is None:
        skip = torch.zeros_like(left[:1])
    else:
        left, skip = left * slot.skip.keep.float(), slot.skip.weight.float()[None]
    return torch.cat([left, skip, right, slot.weights.resid_mix.float()])
