"""The loss whose first layers have stopped learning, compiled, against itself without a compiler."""

import pytest
import torch

from fairway.data.batches import Batch
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.spec.mechanisms import AddedSkips
from fairway.spec.model import ModelSpec, NoLoops
from fairway.spec.train import TrainSpec
from fairway.train.freezing import FrozenGpt
from fairway.train.loop import _loss_functions

# Dynamo makes an instance of a custom function while it traces one, and Inductor uses TorchScript: both deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
]

MODEL = ModelSpec(
    vocab_size=300, layers=2, width=32, heads=4, kv_heads=2, mlp_width=48, rope_dims=4, skips=AddedSkips()
)
SPEC = TrainSpec(
    context=12,
    batch_tokens=24,
    micro_batch_tokens=24,
    batching="contiguous",
    budget_s=2.0,
    reserve_s=1.0,
    compile=True,
)


def test_the_compiled_loss_learns_with_the_last_layers_only():
    torch.compiler.reset()
    model = Gpt(MODEL)
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    tokens = torch.randint(0, 300, (2, 13), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens[:, :-1], tokens[:, 1:], None)
    model.loss(batch.inputs_BT, batch.targets_BT, looped=False).backward()
    whole = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    _loss_functions(FrozenGpt(model), SPEC, NoLoops())[0](batch).backward()
    for name, parameter in model.named_parameters():
        wanted = whole[name].clone()
        if name.endswith("_bank") or name in ("attn_scale", "mlp_scale", "resid_mix", "q_gain"):
            for first in range(0, len(wanted), MODEL.layers):
                wanted[first : first + 1] = 0
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-3, atol=1e-5, msg=name)
