"""Models of other recipes through calibration, rounding, artifact and back."""

from dataclasses import replace

import pytest
import torch

from fairway.data.batches import Batch
from fairway.model.banks import bank
from fairway.model.gpt import Gpt
from fairway.model.weights import bake_symmetry
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.runtime.ranks import Ranks
from fairway.spec.mechanisms import (
    AddedSkips,
    ChannelSmear,
    DenseHeadGate,
    HyperConnections,
    NgramHash,
    SymMix,
    ValueEmbedding,
)
from fairway.spec.model import ModelSpec

PLAIN = ModelSpec(
    vocab_size=300, layers=3, width=32, heads=4, kv_heads=2, mlp_width=48, rope_dims=4, skips=AddedSkips()
)
SPECS = {
    "factored Q": replace(PLAIN, q_rank=12, angle_pairs=4, start="uniform"),
    "tables, gates and values": replace(
        PLAIN,
        smear=ChannelSmear(),
        bigram=NgramHash(buckets=40, width=16, multipliers=(36313, 27191), embedding_std=0.01),
        value_embedding=ValueEmbedding(width=8, layers=(1,)),
        value_residual=True,
        head_gate=DenseHeadGate(bias=4.0),
        star_relu=True,
    ),
    "hyper-connections and SymMix": replace(PLAIN, skips=HyperConnections(), symmetry=SymMix()),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_a_model_comes_back_from_its_artifact_nearly_as_it_was(spec, quant_spec, toy):
    model = toy.lively_model(spec)
    if isinstance(spec.symmetry, SymMix):  # as training leaves it: a turned weight has no symmetry
        bake_symmetry(dict(model.named_parameters()), spec)
    x = torch.randint(2, 300, (1, 65), generator=torch.Generator().manual_seed(0))
    batches = [Batch(x[:, :-1], x[:, 1:], torch.tensor([0, 30, 64], dtype=torch.int32))] * 2
    alone = Ranks(rank=0, world=1, device=torch.device("cpu"))
    hessians = collect(model, batches, 2, alone, looped=False)
    fine = replace(quant_spec, **{part: replace(quant_spec.mlp, bits=8) for part in ("attention", "mlp", "embedding")})
    state, _ = unpack(pack(rotate_gptq(model, hessians, fine), fine, {"recipe_sha256": "0" * 64, "seed": 1}), fine)
    restored = Gpt(spec)
    restored.load_state_dict(bank(state, spec))
    with torch.no_grad():
        before, after = model(x, looped=False), restored(x, looped=False)
    assert 0 < (before - after).abs().mean() < 0.1 * before.std()


def test_tables_are_rounded_as_if_every_entry_counted_alike(toy):
    model = toy.lively_model(SPECS["tables, gates and values"])
    x = torch.randint(2, 300, (1, 65), generator=torch.Generator().manual_seed(0))
    alone = Ranks(rank=0, world=1, device=torch.device("cpu"))
    hessians = collect(model, [Batch(x[:, :-1], x[:, 1:], None)], 1, alone, looped=False)
    assert torch.equal(hessians["bigram_embedding"], torch.eye(16))
    assert torch.equal(hessians["value_embedding"], torch.eye(8))
    assert not torch.equal(hessians["embedding"], torch.eye(32))
