from dataclasses import replace

import pytest
import torch

from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.spec.mechanisms import SparseHeadGate
from fairway.spec.model import Kernels, Loops, ModelSpec, TwoLanes

# Dynamo makes an instance of a custom function while it traces one, which torch itself deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

ALL = Kernels(mlp="triton", head="triton", rotary="triton", exclusive="triton", junction="triton")
SPEC = ModelSpec(
    vocab_size=60,
    layers=5,
    width=32,
    heads=4,
    kv_heads=2,
    mlp_width=48,
    rope_dims=4,
    xsa_last=5,
    loops=Loops(first=1, last=1, extra=1),
    lanes=TwoLanes(start=2),
    head_gate=SparseHeadGate(inputs=8),
    kernels=ALL,
)
OPERATORS = ("mlp_up", "softcap_ce_", "rotary_go", "exclusive_go", "mix_go", "lanes_go")


def gradients(model, loss_fn):
    tokens = torch.randint(0, 60, (2, 30), generator=torch.Generator().manual_seed(2))
    model.zero_grad()
    loss = loss_fn(tokens[:1], tokens[1:], torch.tensor([0, 11, 30]), 19)
    loss.backward()
    return [loss.detach(), *(parameter.grad.clone() for parameter in model.parameters())]


def test_the_loss_on_kernels_is_one_graph_whose_gradients_are_those_without_them(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    torch.compiler.reset()
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return torch._dynamo.backends.debugging.aot_eager(graph, inputs)

    found = []
    for spec in (SPEC, replace(SPEC, kernels=Kernels())):
        model = Gpt(spec)
        initialise(model, 0)
        with torch.no_grad():
            for i, parameter in enumerate(model.parameters()):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))

        def loss_fn(inputs, targets, bounds, longest, model=model):
            return model.loss(inputs, targets, looped=True, cu_seqlens=bounds, max_len=longest)

        ready = torch.compile(loss_fn, fullgraph=True, dynamic=False, backend=keep) if spec is SPEC else loss_fn
        found.append(gradients(model, ready))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=2e-4, atol=2e-6)
    (graph,) = graphs
    text = "".join(str(each.code) for each in graph.modules() if isinstance(each, torch.fx.GraphModule))
    assert [name for name in OPERATORS if f"fairway.{name}" not in text and f"fairway_{name}" not in text] == []
