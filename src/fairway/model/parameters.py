"""Every parameter of a model: name, shape, and the value that makes its mechanism neutral."""

import torch
from torch import Tensor

from fairway.model.depth import schedule, skip_slots
from fairway.model.history import history_rows
from fairway.spec.mechanisms import (
    AddedSkips,
    ChannelSmear,
    DenseHeadGate,
    DepthAttention,
    GatedSkips,
    HyperConnections,
    NgramHash,
    SparseHeadGate,
    SymMix,
    TokenSmear,
    ValueEmbedding,
)
from fairway.spec.model import Loops, ModelSpec, TwoLanes


def neutral_parameters(spec: ModelSpec) -> dict[str, Tensor]:
    """All parameters of ``spec`` by name, float32; matrices and tables are zero, ``model.init`` draws them."""
    layers, width = spec.layers, spec.width
    qo_matrices = layers if spec.q_rank else 2 * layers
    found = {
        "embedding": torch.zeros(spec.vocab_size, width),
        "qo_bank": torch.zeros(qo_matrices, width, width),
        "kv_bank": torch.zeros(2 * layers, spec.kv_width, width),
        "up_bank": torch.zeros(layers, spec.mlp_width, width),
        "down_bank": torch.zeros(layers, width, spec.mlp_width),
        "attn_scale": torch.ones(layers, width),
        "mlp_scale": torch.ones(layers, width),
        "resid_mix": torch.tensor([1.0, 0.0])[:, None].repeat(layers, 1, width),
        "q_gain": torch.full((layers, spec.heads), spec.qk_gain),
    }
    if spec.q_rank:
        found["q_in_bank"] = torch.zeros(layers, spec.q_rank, width)
        found["q_out_bank"] = torch.zeros(layers, width, spec.q_rank)
    if isinstance(spec.skips, AddedSkips | GatedSkips):
        found["skip_weight"] = torch.ones(skip_slots(spec), width)
    if isinstance(spec.skips, GatedSkips):
        found["skip_gate"] = torch.zeros(skip_slots(spec), width)
    if isinstance(spec.skips, HyperConnections):
        rows = history_rows(layers - 1).stop
        found["hyper_mix"] = torch.full((rows, width if spec.skips.by_channel else 1), -2.0)
        for layer in range(layers):
            found["hyper_mix"][history_rows(layer)][-1] = 2.0
    if isinstance(spec.skips, DepthAttention):
        found["depth_weight"] = torch.zeros(layers, width)
        found["depth_mix"] = torch.zeros(layers, spec.skips.order + 1)
    if isinstance(spec.lanes, TwoLanes):
        found["lane_decay"] = torch.full((layers, 2), 1.1)
        found["lane_mix"] = torch.ones(layers, 2, 2)
    if isinstance(spec.bigram, NgramHash):
        found |= _hash_parameters("bigram", spec.bigram, width)
    if isinstance(spec.trigram, NgramHash):
        found |= _hash_parameters("trigram", spec.trigram, width)
    if isinstance(spec.smear, ChannelSmear):
        found["smear_gate"] = torch.zeros(width)
    if isinstance(spec.smear, TokenSmear):
        found["smear_gate"] = torch.zeros(spec.smear.inputs)
        found["smear_scale"] = torch.zeros(1)
    if isinstance(spec.value_embedding, ValueEmbedding):
        found["value_embedding"] = torch.zeros(spec.vocab_size, spec.value_embedding.width)
        found["value_weight"] = torch.zeros(spec.kv_width, spec.value_embedding.width)
        found["value_scale"] = torch.full((1,), 0.1)
        found["value_layer_scale"] = torch.ones(len(spec.value_embedding.layers))
    if spec.value_residual:
        found["value_mix"] = torch.full((layers, 2), 0.5)
    if isinstance(spec.head_gate, SparseHeadGate):
        found["head_gate"] = torch.zeros(layers, spec.heads, spec.head_gate.inputs)
    if isinstance(spec.head_gate, DenseHeadGate):
        found["head_gate"] = torch.zeros(layers, spec.heads, width)
        if spec.head_gate.bias is not None:
            found["head_bias"] = torch.full((layers, spec.heads), spec.head_gate.bias)
    if spec.angle_pairs:
        found["angle_weight"] = torch.zeros(layers, spec.angle_pairs, width)
    if spec.star_relu:
        found["star_scale"] = torch.ones(layers, spec.mlp_width)
        found["star_bias"] = torch.zeros(layers, spec.mlp_width)
    if isinstance(spec.symmetry, SymMix):
        found["qo_mix"] = torch.zeros(2 * layers)
    if isinstance(spec.loops, Loops) and spec.loops.adapter_rank:
        runs, rank = len(schedule(spec, looped=True).slots), spec.loops.adapter_rank
        found["run_in_weight"] = torch.zeros(runs, 4, rank, width)
        found["run_qo_weight"] = torch.zeros(runs, 2, width, rank)
        found["run_kv_weight"] = torch.zeros(runs, 2, spec.kv_width, rank)
    return found


def _hash_parameters(name: str, table: NgramHash, width: int) -> dict[str, Tensor]:
    return {
        f"{name}_embedding": torch.zeros(table.buckets, table.width),
        f"{name}_weight": torch.zeros(width, table.width),
        f"{name}_scale": torch.full((1,), 0.05),
    }


def parameter_count(spec: ModelSpec) -> int:
    """How many numbers a model of ``spec`` learns and keeps."""
    with torch.device("meta"):
        return sum(tensor.numel() for tensor in neutral_parameters(spec).values())
