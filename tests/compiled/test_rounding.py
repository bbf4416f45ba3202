"""Rounding in the forward of training, compiled, against weights that were rounded beforehand."""

import pytest
import torch

from fairway.data.batches import Batch
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.spec.train import LateRounding, TrainSpec
from fairway.train.loop import _loss_functions
from fairway.train.rounding import RoundedLoss, rounded_rows

# Dynamo makes an instance of a custom function while it traces one, and Inductor uses TorchScript: both deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
]

ROUNDING = LateRounding(bits=4)
MODEL = ModelSpec(
    vocab_size=300,
    layers=3,
    width=32,
    heads=4,
    kv_heads=2,
    mlp_width=48,
    rope_dims=4,
    loops=Loops(first=1, last=1, extra=1),
    lanes=TwoLanes(start=2),
)


def model_with(seed: int) -> Gpt:
    model = Gpt(MODEL)
    initialise(model, seed)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


@pytest.mark.parametrize("compiled", [False, True])
def test_the_forward_multiplies_with_rounded_matrices_and_the_gradient_passes_through(compiled):
    torch.compiler.reset()
    spec = TrainSpec(
        context=12,
        batch_tokens=24,
        micro_batch_tokens=24,
        batching="contiguous",
        budget_s=2.0,
        reserve_s=1.0,
        compile=compiled,
    )
    model, before = model_with(0), model_with(0)
    with torch.no_grad():
        for name, parameter in before.named_parameters():
            if name.endswith("_bank"):
                parameter.copy_(rounded_rows(parameter, ROUNDING))
    rounded = _loss_functions(RoundedLoss(model, ROUNDING), spec, MODEL.loops)
    plain = _loss_functions(model, spec, MODEL.loops)
    tokens = torch.randint(0, 300, (2, 13), generator=torch.Generator().manual_seed(0))
    batch = Batch(tokens[:, :-1], tokens[:, 1:], None)
    assert rounded.keys() == plain.keys() == {0, 1}
    for looped in (0,) if compiled else (0, 1):
        model.zero_grad()
        before.zero_grad()
        unrounded, loss = plain[looped](batch).detach(), rounded[looped](batch)
        loss.backward()
        slow = before.loss(batch.inputs_BT, batch.targets_BT, looped=bool(looped), max_len=12)
        slow.backward()
        torch.testing.assert_close(loss, slow, rtol=1e-4, atol=1e-5)
        assert (loss - unrounded).abs() > 1e-3
        for (name, mine), other in zip(model.named_parameters(), before.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-5, msg=name)
        # Weights that move later are seen by the graph that is already there.
        with torch.no_grad():
            model.qo_bank.mul_(1.5)
        assert (rounded[looped](batch) - loss).abs() > 1e-4
        with torch.no_grad():
            model.qo_bank.div_(1.5)
