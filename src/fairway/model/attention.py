"""Projections, rotary, gains, causal attention, exclusive self attention."""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.exclusive import exclude_self
from fairway.kernels.rotary_heads import rotary_heads
from fairway.kernels.varlen_attention import Packing, causal_attention, segment_attention
from fairway.model.hooks import Hooks, Site
from fairway.model.rotary import Rotary


class AttentionWeights(NamedTuple):
    """One layer's slices of the banks."""

    q: Float[Tensor, "D D"]
    k: Float[Tensor, "Dkv D"]
    v: Float[Tensor, "Dkv D"]
    o: Float[Tensor, "D D"]
    gain: Float[Tensor, " H"]


def attention_output(
    x: Float[Tensor, "B T D"],
    weights: AttentionWeights,
    *,
    rotary: Rotary,
    packing: Packing | None,
    exclusive: bool,
    slot: int,
    layer: int,
    hooks: Hooks,
) -> Float[Tensor, "B T D"]:
    """What the attention of one layer adds, before ``attn_scale``; inside segments where there is a packing."""
    hooks.observe(Site(slot, layer, "attn_in"), x)
    rotated = hooks.rotate("attn_in", x)
    width = x.shape[-1] // weights.gain.shape[0]
    q = hooks.adapt(Site(slot, layer, "q"), x, F.linear(rotated, weights.q)).unflatten(-1, (-1, width))
    k = hooks.adapt(Site(slot, layer, "k"), x, F.linear(rotated, weights.k)).unflatten(-1, (-1, width))
    v = hooks.adapt(Site(slot, layer, "v"), x, F.linear(rotated, weights.v)).unflatten(-1, (-1, width))
    q = rotary_heads(q, weights.gain, rotary.cos, rotary.sin)
    k = rotary_heads(k, None, rotary.cos, rotary.sin)
    if packing is None:
        y = causal_attention(q, k, v)
    else:
        y = segment_attention(q[0], k[0], v[0], packing)[None]
    if exclusive:
        y = exclude_self(y, v)
    y = y.flatten(-2)
    hooks.observe(Site(slot, layer, "attn_proj_in"), y)
    y = F.linear(hooks.rotate("attn_proj_in", y), weights.o)
    return hooks.adapt(Site(slot, layer, "o"), x, y)
