"""What one run of one layer multiplies with, and what is the same for all tokens of a forward."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.attention import Attention, Pieces
from fairway.kernels.varlen_attention import Packing
from fairway.model.hooks import Hooks, Site
from fairway.model.rotary import Rotary
from fairway.spec.mechanisms import SymLayers, SymMix
from fairway.spec.model import ModelSpec


class LayerWeights(NamedTuple):
    """Everything one layer multiplies with: its matrices, then its slices of the parameters that are so named.

    None stands for what the spec leaves out.
    """

    q: Float[Tensor, "D R"]
    """To the heads: from the stream, or from ``narrow_q`` where Q is a product."""
    k: Float[Tensor, "Dkv D"]
    v: Float[Tensor, "Dkv D"]
    o: Float[Tensor, "D D"]
    up: Float[Tensor, "F D"]
    down: Float[Tensor, "D F"]
    q_gain: Float[Tensor, " H"]
    attn_scale: Float[Tensor, " D"]
    mlp_scale: Float[Tensor, " D"]
    resid_mix: Float[Tensor, "2 D"]
    lane_decay: Float[Tensor, " 2"] | None = None
    lane_mix: Float[Tensor, "2 2"] | None = None
    """From attention and MLP (rows) to lanes (columns)."""
    narrow_q: Float[Tensor, "R D"] | None = None
    value_mix: Float[Tensor, " 2"] | None = None
    """Shares of the first layer's values and of this layer's own."""
    head_gate: Float[Tensor, "H I"] | None = None
    head_bias: Float[Tensor, " H"] | None = None
    angle_weight: Float[Tensor, "P D"] | None = None
    star_scale: Float[Tensor, " F"] | None = None
    star_bias: Float[Tensor, " F"] | None = None


class RunWeights(NamedTuple):
    """Low-rank corrections of one run of one layer, for q, k, v and o in this order."""

    inward: Float[Tensor, "4 R D"]
    qo: Float[Tensor, "2 D R"]
    kv: Float[Tensor, "2 Dkv R"]


class BlockContext(NamedTuple):
    """What is the same for all tokens of one run of one layer; all but ``slot`` and ``layer`` for all runs too."""

    spec: ModelSpec
    x0: Float[Tensor, "B T D"]
    rotary: Rotary
    packing: Packing | Pieces | None
    hooks: Hooks
    slot: int = 0
    layer: int = 0
    attend: Attention | None = None
    """What attends; None stands for SDPA."""
    added_values: dict[int, Tensor] | None = None
    """What a value embedding adds to the values of each of its layers, (B, T, Dkv)."""
    first_values: list[Tensor] | None = None
    """Filled by the first layer, read by all others (value residual)."""
    run_weights: list[RunWeights] | None = None
    """By slot."""

    def site(self, part: str) -> Site:
        """A place in this run of this layer."""
        return Site(self.slot, self.layer, part)


def layer_weights(named: Mapping[str, Tensor], spec: ModelSpec, dtype: torch.dtype) -> list[LayerWeights]:
    """Slices of the parameters by one unbind each: indexing would cost a bank-sized gradient a use."""
    parts = {name: named[name].to(dtype).unbind() for name in LayerWeights._fields if name in named}
    n, bank = spec.layers, named["qo_bank"]
    if isinstance(spec.symmetry, SymMix | SymLayers):
        bank = symmetrised(named, spec)
    qo, kv = bank.to(dtype).unbind(), named["kv_bank"].to(dtype).unbind()
    parts |= {"q": qo[:n], "o": qo[-n:], "k": kv[:n], "v": kv[n:]}
    parts |= {"up": named["up_bank"].to(dtype).unbind(), "down": named["down_bank"].to(dtype).unbind()}
    if spec.q_rank:
        parts |= {"q": named["q_out_bank"].to(dtype).unbind(), "narrow_q": named["q_in_bank"].to(dtype).unbind()}
    return [LayerWeights(**{name: slices[i] for name, slices in parts.items()}) for i in range(n)]


def run_weights(named: Mapping[str, Tensor], dtype: torch.dtype) -> list[RunWeights]:
    """Slices of the low-rank corrections, one for each run of a layer."""
    inward, qo, kv = (named[f"run_{part}_weight"].to(dtype).unbind() for part in ("in", "qo", "kv"))
    return [RunWeights(*parts) for parts in zip(inward, qo, kv, strict=True)]


def symmetrised(named: Mapping[str, Tensor], spec: ModelSpec) -> Float[Tensor, "N D D"]:
    """Q and O as the forward multiplies with them (#1214)."""
    qo = named["qo_bank"]
    if isinstance(spec.symmetry, SymMix):
        qo = qo + named["qo_mix"].tanh()[:, None, None] * qo.mT
    if isinstance(spec.symmetry, SymLayers):
        forced = torch.zeros(2 * spec.layers, 1, 1, dtype=torch.bool, device=qo.device)
        forced[[place for layer in spec.symmetry.layers for place in (layer, spec.layers + layer)]] = True
        qo = torch.where(forced, symmetric(qo), qo)
    return qo


def symmetric(w_NDD: Float[Tensor, "*N D D"]) -> Float[Tensor, "*N D D"]:
    """The symmetric part of each matrix."""
    return (w_NDD + w_NDD.mT) / 2


def symmetric_share(w_NDD: Float[Tensor, "*N D D"]) -> Float[Tensor, "*N"]:
    """Share of each matrix's squares that its symmetric part holds: 1/2 for a random one, 0 for one of zeros."""
    return symmetric(w_NDD).square().sum((-2, -1)) / w_NDD.square().sum((-2, -1)).clamp_min(1e-30)


@torch.no_grad()
def bake_symmetry(named: Mapping[str, Tensor], spec: ModelSpec) -> None:
    """Put what symmetry makes of Q and O into the weights; what the model computes stays the same (#1214)."""
    named["qo_bank"].copy_(symmetrised(named, spec))
    if isinstance(spec.symmetry, SymMix):
        named["qo_mix"].zero_()
