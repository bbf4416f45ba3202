"""Projections, rotary, gains, causal attention, exclusive self attention, gates of heads."""

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.exclusive import exclude_self
from fairway.kernels.fused_exclusive import fused_exclude_self
from fairway.kernels.fused_heads import fused_rotary_heads
from fairway.kernels.rotary_heads import rotary_heads
from fairway.kernels.varlen_attention import Packing, causal_attention, segment_attention
from fairway.model.weights import BlockContext, LayerWeights
from fairway.spec.mechanisms import DenseHeadGate, SparseHeadGate, ValueEmbedding
from fairway.spec.model import Loops


def attention_output(x: Float[Tensor, "B T D"], weights: LayerWeights, context: BlockContext) -> Float[Tensor, "B T D"]:
    """What the attention of one layer adds, before ``attn_scale``; inside segments where there is a packing."""
    spec, hooks, packing = context.spec, context.hooks, context.packing
    hooks.observe(context.site("attn_in"), x)
    rotated = hooks.rotate("attn_in", x)
    if spec.q_rank:
        assert weights.narrow_q is not None
        narrow = F.linear(rotated, weights.narrow_q)
        hooks.observe(context.site("q_proj_in"), narrow)
        q = F.linear(hooks.rotate("q_proj_in", narrow), weights.q)
    else:
        q = F.linear(rotated, weights.q)
    k, v = F.linear(rotated, weights.k), F.linear(rotated, weights.v)
    if isinstance(spec.value_embedding, ValueEmbedding) and context.layer in spec.value_embedding.layers:
        assert context.added_values is not None
        v = v + context.added_values[context.layer]
    if isinstance(spec.loops, Loops) and spec.loops.adapter_rank:
        assert context.run_weights is not None
        run = context.run_weights[context.slot]
        q = q + F.linear(F.linear(x, run.inward[0]), run.qo[0])
        k = k + F.linear(F.linear(x, run.inward[1]), run.kv[0])
        v = v + F.linear(F.linear(x, run.inward[2]), run.kv[1])
    heads = (-1, x.shape[-1] // spec.heads)
    q = hooks.adapt(context.site("q"), x, q).unflatten(-1, heads)
    k = hooks.adapt(context.site("k"), x, k).unflatten(-1, heads)
    v = hooks.adapt(context.site("v"), x, v).unflatten(-1, heads)
    if spec.value_residual:
        v = _with_first_values(v, weights, context)
    if spec.kernels.rotary == "triton":
        q = fused_rotary_heads(q, weights.q_gain, context.rotary.cos, context.rotary.sin)
        k = fused_rotary_heads(k, None, context.rotary.cos, context.rotary.sin)
    else:
        q = rotary_heads(q, weights.q_gain, context.rotary.cos, context.rotary.sin)
        k = rotary_heads(k, None, context.rotary.cos, context.rotary.sin)
    if spec.attention != "sdpa" and context.attend is not None:
        attend = context.attend
        y = attend.dense(q, k, v) if packing is None else attend.packed(q[0], k[0], v[0], packing)[None]
    elif packing is None:
        y = causal_attention(q, k, v)
    else:
        y = segment_attention(q[0], k[0], v[0], cast(Packing, packing))[None]
    if spec.kernels.exclusive == "triton" and context.layer >= spec.layers - spec.xsa_last:
        if isinstance(spec.head_gate, DenseHeadGate | SparseHeadGate):
            y = fused_exclude_self(y, v, _gate_logits(x, weights, spec.head_gate))
        else:
            y = fused_exclude_self(y, v, None)
    else:
        if context.layer >= spec.layers - spec.xsa_last:
            y = exclude_self(y, v)
        if isinstance(spec.head_gate, DenseHeadGate | SparseHeadGate):
            y = y * torch.sigmoid(_gate_logits(x, weights, spec.head_gate))[..., None]
    y = y.flatten(-2)
    hooks.observe(context.site("attn_proj_in"), y)
    z = F.linear(hooks.rotate("attn_proj_in", y), weights.o)
    if isinstance(spec.loops, Loops) and spec.loops.adapter_rank:
        assert context.run_weights is not None
        run = context.run_weights[context.slot]
        z = z + F.linear(F.linear(y, run.inward[3]), run.qo[1])
    return hooks.adapt(context.site("o"), x, z)


def _with_first_values(v: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
    """``mix_0 v_0 + mix_1 v``; the first layer's own values are both (recipes B.3)."""
    assert context.first_values is not None and weights.value_mix is not None
    if not context.first_values:
        context.first_values.append(v)
    return weights.value_mix[0] * context.first_values[0] + weights.value_mix[1] * v


def _gate_logits(x: Tensor, weights: LayerWeights, gate: DenseHeadGate | SparseHeadGate) -> Tensor:
    """Of each head, (..., H)."""
    assert weights.head_gate is not None
    if isinstance(gate, SparseHeadGate):
        return F.linear(x[..., : gate.inputs], weights.head_gate) * gate.scale
    return F.linear(x, weights.head_gate, weights.head_bias)
