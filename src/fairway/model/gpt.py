"""The one forward: embed, blocks, head."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from fairway.kernels.attention import SDPA, Pieces
from fairway.kernels.channel_sum import channel_sum
from fairway.kernels.fused_ce import head_ce
from fairway.kernels.norms import scaled_rms_norm
from fairway.kernels.softcap_ce import softcap, softcap_ce
from fairway.kernels.varlen_attention import Packing, pack_segments
from fairway.model.ahead import AHEAD_MAP, ahead_loss
from fairway.model.block import lerp_skip, one_lane, two_lanes
from fairway.model.depth import lanes_from, schedule
from fairway.model.entry import embed, value_vectors
from fairway.model.history import attend_history, history_rows, mix_history
from fairway.model.hooks import HEAD, HEAD_IN, PLAIN, Hooks
from fairway.model.lanes import fused_lanes, lane_slots
from fairway.model.parameters import neutral_parameters
from fairway.model.rotary import rotary_table
from fairway.model.weights import BlockContext, LayerWeights, layer_weights, run_weights
from fairway.spec.mechanisms import (
    AddedSkips,
    DepthAttention,
    GatedSkips,
    HyperConnections,
    Mtp,
    ValueEmbedding,
)
from fairway.spec.model import Loops, ModelSpec, TwoLanes


class Gpt(nn.Module):
    """A decoder with tied embedding and banked weights: every model of the recipes, by its spec (recipes B).

    Parameters are float32 and start as ``model.parameters`` says: call ``model.init.initialise``. Matrices are cast
    to ``dtype`` at use. Matrix ``i`` of ``qo_bank`` is Q of layer ``i``, ``layers + i`` is O; ``kv_bank`` likewise.
    """

    def __init__(self, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.dtype = dtype
        if spec.attention != "sdpa":
            self.attention = SDPA  # until a stage chooses for its device (main.settle_attention)
        # Compiled stand-ins, where training has each kind of block compiled by itself (train.regions).
        self.place_region: Callable[[Tensor, int, int], Packing] | None = None
        self.one_lane_region: Callable[[Tensor, LayerWeights, BlockContext], Tensor] | None = None
        self.two_lanes_region: Callable[[Tensor, Tensor, LayerWeights, BlockContext], tuple[Tensor, Tensor]] | None = (
            None
        )
        for name, start in neutral_parameters(spec).items():
            self.register_parameter(name, nn.Parameter(start))

    def hidden(
        self,
        tokens_BT: Int[Tensor, "B T"],
        *,
        looped: bool,
        cu_seqlens: Int[Tensor, " C"] | None = None,
        max_len: int | None = None,
        hooks: Hooks = PLAIN,
    ) -> Float[Tensor, "B T D"]:
        """Final-normed hidden states.

        Rows are causal from their start; padding may stand at their right. With ``cu_seqlens`` there is one flat
        row, each of its segments (of at most ``max_len`` tokens) is a document of its own, and positions count
        from the segment's start.
        """
        spec = self.spec
        device = tokens_BT.device
        if cu_seqlens is None:
            packing: Packing | Pieces | None = None
            positions = torch.arange(tokens_BT.shape[1], device=device)
        else:
            if tokens_BT.shape[0] != 1 or max_len is None:
                raise ValueError(f"cu_seqlens needs max_len and one flat row, got {tokens_BT.shape[0]} rows")
            place = self.place_region or (pack_segments if spec.attention == "sdpa" else self.attention.place)
            packing = place(cu_seqlens, tokens_BT.shape[1], max_len)
            positions = packing.positions
        named = dict(self.named_parameters())
        rotary = rotary_table(positions, spec.rope_dims, spec.rope_base, self.dtype)
        x0 = hooks.enter(tokens_BT, positions, embed(tokens_BT, positions, named, spec, self.dtype))
        layers = self.each_layer(named)
        shared = BlockContext(spec=spec, x0=x0, rotary=rotary, packing=packing, hooks=hooks)
        if spec.attention != "sdpa":
            shared = shared._replace(attend=self.attention)
        if spec.value_residual:
            shared = shared._replace(first_values=[])
        if isinstance(spec.value_embedding, ValueEmbedding):
            shared = shared._replace(added_values=value_vectors(tokens_BT, named, spec.value_embedding, self.dtype))
        if isinstance(spec.loops, Loops) and spec.loops.adapter_rank:
            shared = shared._replace(run_weights=run_weights(named, self.dtype))
        x = x0
        if isinstance(spec.skips, HyperConnections):
            outputs = [x0]
            mix = named["hyper_mix"].to(self.dtype)
            for i in range(spec.layers):
                x = (self.one_lane_region or one_lane)(
                    mix_history(outputs, mix[history_rows(i)]), layers[i], shared._replace(slot=i, layer=i)
                )
                outputs.append(x)
            return scaled_rms_norm(x)
        if isinstance(spec.skips, DepthAttention):
            added: list[Tensor] = []
            queries = named["depth_weight"].to(self.dtype).unbind()
            places = named["depth_mix"].to(self.dtype).unbind()
            for i in range(spec.layers):
                added.append((self.one_lane_region or one_lane)(x, layers[i], shared._replace(slot=i, layer=i)) - x)
                x = x0 + attend_history(added, queries[i], places[i])
            return scaled_rms_norm(x)
        depth = schedule(spec, looped)
        split = lanes_from(spec, depth)
        if isinstance(spec.skips, AddedSkips | GatedSkips):
            skip_weight = named["skip_weight"].to(self.dtype).unbind()
        if isinstance(spec.skips, GatedSkips):
            skip_gate = named["skip_gate"].to(self.dtype).unbind()
        skips: list[Tensor] = []
        for slot, layer in enumerate(depth.encoder):
            x = (self.one_lane_region or one_lane)(x, layers[layer], shared._replace(slot=slot, layer=layer))
            skips.append(x)
        mlp_lane = x
        for j, layer in enumerate(depth.decoder):
            if spec.kernels.junction == "triton" and isinstance(spec.lanes, TwoLanes) and j == split:
                return scaled_rms_norm(fused_lanes(x, lane_slots(depth, split, layers, skips, named, shared)))
            if j == split:
                # Lanes part before the skip is added, so it enters the first lane only (#1530).
                mlp_lane = x
            if isinstance(spec.skips, GatedSkips) and skips:
                x = lerp_skip(x, skips.pop(), skip_weight[j], skip_gate[j])
            if isinstance(spec.skips, AddedSkips) and skips:
                x = channel_sum((x, None), (skips.pop(), skip_weight[j]))
            here = shared._replace(slot=len(depth.encoder) + j, layer=layer)
            if isinstance(spec.lanes, TwoLanes) and j >= split:
                x, mlp_lane = (self.two_lanes_region or two_lanes)(x, mlp_lane, layers[layer], here)
            else:
                x = (self.one_lane_region or one_lane)(x, layers[layer], here)
        if split < len(depth.decoder):
            x = (x + mlp_lane) * 0.5
        return scaled_rms_norm(x)

    def each_layer(self, named: Mapping[str, Tensor]) -> list[LayerWeights]:
        """What each layer multiplies with, from the parameters by name."""
        return layer_weights(named, self.spec, self.dtype)

    def raw_logits(self, hidden: Float[Tensor, "*T D"], hooks: Hooks = PLAIN) -> Float[Tensor, "*T V"]:
        """Logits of any of the hidden states before the softcap, float32."""
        hooks.observe(HEAD_IN, hidden)
        y = F.linear(hooks.rotate(HEAD_IN.part, hidden), self.get_parameter("embedding").to(self.dtype))
        return hooks.adapt(HEAD, hidden, y).float()

    def forward(
        self,
        tokens_BT: Int[Tensor, "B T"],
        *,
        looped: bool,
        cu_seqlens: Int[Tensor, " C"] | None = None,
        max_len: int | None = None,
        hooks: Hooks = PLAIN,
    ) -> Float[Tensor, "B T V"]:
        """Softcapped logits of the next token at each position."""
        hidden = self.hidden(tokens_BT, looped=looped, cu_seqlens=cu_seqlens, max_len=max_len, hooks=hooks)
        return softcap(self.raw_logits(hidden, hooks), self.spec.softcap)

    def loss(
        self,
        inputs_BT: Int[Tensor, "B T"],
        targets_BT: Int[Tensor, "B T"],
        *,
        looped: bool,
        cu_seqlens: Int[Tensor, " C"] | None = None,
        max_len: int | None = None,
        hooks: Hooks = PLAIN,
    ) -> Float[Tensor, ""]:
        """Mean nats of the targets: what training minimises."""
        hidden = self.hidden(inputs_BT, looped=looped, cu_seqlens=cu_seqlens, max_len=max_len, hooks=hooks)
        if self.spec.kernels.head == "triton" and hooks is PLAIN:
            embedding = self.get_parameter("embedding").to(self.dtype)
            loss = head_ce(hidden.flatten(0, 1), embedding, targets_BT.flatten(), self.spec.softcap).mean()
        else:
            raw_logits = self.raw_logits(hidden.flatten(0, 1), hooks)
            loss = softcap_ce(raw_logits, targets_BT.flatten(), self.spec.softcap).mean()
        if isinstance(self.spec.mtp, Mtp):
            named = dict(self.named_parameters())
            if AHEAD_MAP in named:
                parts = (named[AHEAD_MAP], named["embedding"])
                ahead = ahead_loss(hidden, *parts, inputs_BT, targets_BT, self.spec.softcap)
                loss = loss + self.spec.mtp.loss_weight * ahead
        return loss
