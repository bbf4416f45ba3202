"""The one forward: embed, blocks, head."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from fairway.kernels.norms import scaled_rms_norm
from fairway.kernels.softcap_ce import softcap, softcap_ce
from fairway.kernels.varlen_attention import pack_segments
from fairway.model.attention import AttentionWeights
from fairway.model.block import BlockContext, LayerWeights, lerp_skip, one_lane, two_lanes
from fairway.model.depth import lanes_from, schedule, skip_slots
from fairway.model.hooks import HEAD, HEAD_IN, PLAIN, Hooks
from fairway.model.rotary import rotary_table
from fairway.spec.model import ModelSpec, TwoLanes


class Gpt(nn.Module):
    """A decoder with tied embedding, gated U-Net skips, depth recurrence and banked weights (recipes B.5).

    Parameters are float32 and start neutral or uninitialised: call ``model.init.initialise``. Matrices are cast to
    ``dtype`` at use. Matrix ``i`` of ``qo_bank`` is Q of layer ``i``, ``layers + i`` is O; ``kv_bank`` likewise.
    """

    def __init__(self, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.dtype = dtype
        layers, width = spec.layers, spec.width
        skips = skip_slots(spec)
        self.embedding = nn.Parameter(torch.zeros(spec.vocab_size, width))
        self.qo_bank = nn.Parameter(torch.zeros(2 * layers, width, width))
        self.kv_bank = nn.Parameter(torch.zeros(2 * layers, spec.kv_width, width))
        self.up_bank = nn.Parameter(torch.zeros(layers, spec.mlp_width, width))
        self.down_bank = nn.Parameter(torch.zeros(layers, width, spec.mlp_width))
        self.attn_scale = nn.Parameter(torch.ones(layers, width))
        self.mlp_scale = nn.Parameter(torch.ones(layers, width))
        self.resid_mix = nn.Parameter(torch.tensor([1.0, 0.0])[:, None].repeat(layers, 1, width))
        self.q_gain = nn.Parameter(torch.full((layers, spec.heads), spec.qk_gain))
        self.skip_weight = nn.Parameter(torch.ones(skips, width))
        self.skip_gate = nn.Parameter(torch.zeros(skips, width))
        if isinstance(spec.lanes, TwoLanes):
            self.lane_decay = nn.Parameter(torch.full((layers, 2), 1.1))
            self.lane_mix = nn.Parameter(torch.ones(layers, 2, 2))

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
            packing = None
            positions = torch.arange(tokens_BT.shape[1], device=device)
        else:
            if tokens_BT.shape[0] != 1 or max_len is None:
                raise ValueError(f"cu_seqlens needs max_len and one flat row, got {tokens_BT.shape[0]} rows")
            packing = pack_segments(cu_seqlens, tokens_BT.shape[1], max_len)
            positions = packing.positions
        rotary = rotary_table(positions, spec.rope_dims, spec.rope_base, self.dtype)
        x0 = scaled_rms_norm(F.embedding(tokens_BT, self.embedding).to(self.dtype))
        layers = self._layer_weights()
        skip_weight = self.skip_weight.to(self.dtype).unbind()
        skip_gate = self.skip_gate.to(self.dtype).unbind()
        depth = schedule(spec, looped)
        split = lanes_from(spec, depth)

        def context(slot: int, layer: int) -> BlockContext:
            return BlockContext(
                x0=x0,
                rotary=rotary,
                packing=packing,
                hooks=hooks,
                slot=slot,
                layer=layer,
                exclusive=layer >= spec.layers - spec.xsa_last,
                norm_scale=(layer + 1) ** -0.5 if spec.ln_scale else 1.0,
                slope=spec.negative_slope,
            )

        x = x0
        skips: list[Tensor] = []
        for slot, layer in enumerate(depth.encoder):
            x = one_lane(x, layers[layer], context(slot, layer))
            skips.append(x)
        mlp_lane = x
        for j, layer in enumerate(depth.decoder):
            if j == split:
                # Lanes part before the skip is added, so it enters the first lane only (#1530).
                mlp_lane = x
            if skips:
                x = lerp_skip(x, skips.pop(), skip_weight[j], skip_gate[j])
            here = context(len(depth.encoder) + j, layer)
            if isinstance(spec.lanes, TwoLanes) and j >= split:
                x, mlp_lane = two_lanes(x, mlp_lane, layers[layer], here)
            else:
                x = one_lane(x, layers[layer], here)
        if split < len(depth.decoder):
            x = (x + mlp_lane) * 0.5
        return scaled_rms_norm(x)

    def raw_logits(self, hidden: Float[Tensor, "*T D"], hooks: Hooks = PLAIN) -> Float[Tensor, "*T V"]:
        """Logits of any of the hidden states before the softcap, float32."""
        hooks.observe(HEAD_IN, hidden)
        y = F.linear(hooks.rotate(HEAD_IN.part, hidden), self.embedding.to(self.dtype))
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
        raw_logits = self.raw_logits(hidden.flatten(0, 1), hooks)
        return softcap_ce(raw_logits, targets_BT.flatten(), self.spec.softcap).mean()

    def _layer_weights(self) -> list[LayerWeights]:
        """Slices of the banks by one unbind each: indexing would cost a bank-sized gradient a use."""
        n, dtype = self.spec.layers, self.dtype
        qo, kv = self.qo_bank.to(dtype).unbind(), self.kv_bank.to(dtype).unbind()
        up, down = self.up_bank.to(dtype).unbind(), self.down_bank.to(dtype).unbind()
        attn_scale, mlp_scale = self.attn_scale.to(dtype).unbind(), self.mlp_scale.to(dtype).unbind()
        mix, gain = self.resid_mix.to(dtype).unbind(), self.q_gain.to(dtype).unbind()
        two = isinstance(self.spec.lanes, TwoLanes)
        decay = self.lane_decay.to(dtype).unbind() if two else None
        lane_mix = self.lane_mix.to(dtype).unbind() if two else None
        return [
            LayerWeights(
                attention=AttentionWeights(q=qo[i], k=kv[i], v=kv[n + i], o=qo[n + i], gain=gain[i]),
                up=up[i],
                down=down[i],
                attn_scale=attn_scale[i],
                mlp_scale=mlp_scale[i],
                mix=mix[i],
                decay=None if decay is None else decay[i],
                lane_mix=None if lane_mix is None else lane_mix[i],
            )
            for i in range(n)
        ]
