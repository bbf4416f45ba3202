import pytest
import torch

from fairway.model.adapters import LoraBank
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.spec.model import Loops, ModelSpec, TwoLanes

# Dynamo makes an instance of a custom function while it traces one, which torch itself deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

SPEC = ModelSpec(
    vocab_size=300,
    layers=3,
    width=32,
    heads=4,
    kv_heads=2,
    mlp_width=48,
    rope_dims=4,
    xsa_last=3,
    loops=Loops(first=1, last=1, extra=1),
    lanes=TwoLanes(start=2),
)


@pytest.fixture
def model():
    torch.compiler.reset()
    model = Gpt(SPEC)
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


def tokens(rows=3, length=12, seed=0):
    return torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(seed))


def compiled(model):
    return torch.compile(model, fullgraph=True, backend="eager")


def test_fresh_adapters_change_nothing_bit_for_bit_in_one_graph(model):
    bank = LoraBank(SPEC, documents=3, rank=4, looped=True)
    bank.reset(torch.Generator().manual_seed(5))
    graph = compiled(model)
    plain = graph(tokens(), looped=True)
    assert torch.equal(graph(tokens(), looped=True, hooks=bank.hooks()), plain)
    # Tracing splits some fused multiply-adds, so across the two only rounding may differ.
    torch.testing.assert_close(plain, model(tokens(), looped=True))


def test_moved_adapters_get_the_same_logits_and_gradients_in_one_graph(model):
    bank = LoraBank(SPEC, documents=3, rank=4, looped=True)
    bank.reset(torch.Generator().manual_seed(5))
    with torch.no_grad():
        for b in bank.b_BOR.values():
            b.normal_(std=0.1, generator=torch.Generator().manual_seed(6))
    gradients = []
    for forward in (model, compiled(model)):
        logits = forward(tokens(), looped=True, hooks=bank.hooks())
        gradients.append(torch.autograd.grad(logits.square().mean(), bank.parameters()))
    for eager, traced in zip(*gradients, strict=True):
        torch.testing.assert_close(traced, eager)


@pytest.mark.parametrize("looped", [False, True])
def test_the_packed_training_loss_is_one_graph_with_the_same_gradients(model, looped):
    x, y = tokens(1, 40), tokens(1, 40, seed=1)
    packed = {"cu_seqlens": torch.tensor([0, 13, 30, 40, 40, 40], dtype=torch.int32), "max_len": 20}
    loss = torch.compile(model.loss, fullgraph=True, backend="eager")
    results = []
    for forward in (model.loss, loss):
        value = forward(x, y, looped=looped, **packed)
        used = [p for name, p in model.named_parameters()]
        results.append((value, torch.autograd.grad(value, used)))
    torch.testing.assert_close(results[0][0], results[1][0])
    for eager, traced in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(traced, eager, atol=1e-6, rtol=1e-4)
