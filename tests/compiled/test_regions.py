"""Blocks compiled by themselves against the plain forward, for each mechanism that a block has."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from fairway.model.gpt import Gpt
from fairway.model.hooks import Hooks
from fairway.model.init import initialise
from fairway.spec.mechanisms import (
    AddedSkips,
    DenseHeadGate,
    DepthAttention,
    HyperConnections,
    SparseHeadGate,
    SymMix,
    ValueEmbedding,
)
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.train.regions import BlockRegions

# Dynamo makes an instance of a custom function while it traces one, which torch itself deprecates, and looks at the
# gradient of every input.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]

PLAIN = ModelSpec(
    vocab_size=300,
    layers=5,
    width=32,
    heads=4,
    kv_heads=2,
    mlp_width=48,
    rope_dims=4,
    attention="sdpa",
    skips=AddedSkips(),
)
LOOPED = replace(PLAIN, loops=Loops(first=1, last=2, extra=2))
# Spec, and how many kinds of block it has.
SPECS = {
    "plain": (PLAIN, 1),
    "unscaled": (replace(PLAIN, ln_scale=False), 1),
    "loops and lanes": (replace(LOOPED, lanes=TwoLanes(start=3), xsa_last=5), 2),
    "some layers exclusive": (replace(LOOPED, xsa_last=2), 2),
    "factored Q": (replace(PLAIN, q_rank=8), 1),
    "angles and Star-ReLU": (replace(PLAIN, angle_pairs=8, star_relu=True), 1),
    "value embedding": (replace(PLAIN, value_embedding=ValueEmbedding(width=8, layers=(1, 3))), 2),
    "value residual": (replace(PLAIN, value_residual=True), 2),
    "sparse gate": (replace(PLAIN, head_gate=SparseHeadGate(inputs=8)), 1),
    "dense gate": (replace(PLAIN, head_gate=DenseHeadGate(bias=0.5)), 1),
    "adapters of runs": (replace(PLAIN, loops=Loops(first=0, last=4, extra=1, adapter_rank=2)), 1),
    "hyper-connections": (replace(PLAIN, skips=HyperConnections()), 1),
    "depth attention": (replace(PLAIN, skips=DepthAttention()), 1),
    "symmetric mixture": (replace(PLAIN, symmetry=SymMix()), 1),
}


def model_of(spec):
    model = Gpt(spec)
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are compiled, in order, and run as they are."""
    torch.compiler.reset()
    made = []

    def keep(graph, inputs):
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=keep))
    return made


@pytest.mark.parametrize("name", SPECS)
def test_one_graph_a_kind_computes_what_the_plain_blocks_do(name, graphs):
    spec, kinds = SPECS[name]
    model = model_of(spec)
    x = torch.randint(0, 300, (1, 40), generator=torch.Generator().manual_seed(0))
    packed = {"cu_seqlens": torch.tensor([0, 13, 30, 40, 40], dtype=torch.int32), "max_len": 20}
    states = (False, True) if isinstance(spec.loops, Loops) else (False,)

    def losses_and_gradients():
        found = []
        for looped in states:
            loss = model.loss(x, x, looped=looped, **packed)
            found += [loss, *torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)]
        return found

    plain = losses_and_gradients()
    regions = BlockRegions(spec)
    regions.install(model, any_bounds=False)
    compiled = losses_and_gradients()
    # One lays documents out.
    assert len(graphs) == kinds + 1, "layers of a kind, runs of a layer and loop states share a graph"
    for mine, wanted in zip(compiled, plain, strict=True):
        torch.testing.assert_close(mine, wanted, atol=2e-6, rtol=1e-4)


def test_a_forward_with_hooks_is_not_compiled_and_sees_every_site(graphs):
    model = model_of(LOOPED)
    regions = BlockRegions(LOOPED)
    regions.install(model, any_bounds=False)
    seen = []
    model.hidden(torch.zeros(1, 8).long(), looped=True, hooks=Hooks(observe=lambda site, x: seen.append(site)))
    assert graphs == []
    assert {(site.slot, site.layer) for site in seen} >= {(0, 0), (1, 1), (3, 1), (8, 4)}
