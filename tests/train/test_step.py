"""One optimizer step."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from fairway.data.batches import Batch
from fairway.model.gpt import Gpt
from fairway.train.step import LossFn, Stepper


def loss_of(model: Gpt, *, looped: bool = True) -> LossFn:
    def loss_fn(batch: Batch) -> Tensor:
        return model.loss(batch.inputs_BT, batch.targets_BT, looped=looped, cu_seqlens=batch.cu_seqlens, max_len=16)

    return loss_fn


def gradients_of(model: Gpt) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_micro_batches_of_equal_size_give_the_gradient_of_their_mean_loss(world: Any) -> None:
    micro = list(islice(world.batches(world.train), 3))
    model, twin = world.fresh_model(), world.fresh_model()
    stepper = Stepper(model, replace(world.optim, grad_clip=0.0), world.ranks)
    loss, norm = stepper.step(loss_of(model), micro, lr_scale=1.0, momentum_step=0)
    mean = torch.stack([loss_of(twin)(batch) for batch in micro]).mean()
    mean.backward()
    torch.testing.assert_close(loss, mean.detach())
    expected = gradients_of(twin)
    seen = gradients_of(model)
    assert seen.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(seen[name], expected[name], rtol=1e-4, atol=1e-7)
    flat = torch.cat([gradient.flatten() for gradient in expected.values()])
    torch.testing.assert_close(norm, flat.norm(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("clip", "share"), [(0.01, None), (1e6, 1.0), (0.0, 1.0)])
def test_a_gradient_longer_than_the_clip_is_cut_to_it_and_a_shorter_one_is_left(
    world: Any, clip: float, share: float | None
) -> None:
    micro = list(islice(world.batches(world.train), 2))
    lengths = {}
    for limit in (clip, 0.0):
        model = world.fresh_model()
        stepper = Stepper(model, replace(world.optim, grad_clip=limit), world.ranks)
        _, norm = stepper.step(loss_of(model), micro, lr_scale=1.0, momentum_step=0)
        lengths[limit] = torch.cat([gradient.flatten() for gradient in gradients_of(model).values()]).norm()
        unclipped = norm
    assert float(unclipped) > 0.01
    expected = clip if share is None else float(unclipped) * share
    assert float(lengths[clip]) == pytest.approx(expected, rel=1e-4)


def test_a_parameter_that_the_forward_leaves_out_still_decays_and_stops_nothing(world: Any) -> None:
    model = world.fresh_model()
    stepper = Stepper(model, world.optim, world.ranks)

    def only_the_head(batch: Batch) -> Tensor:
        hidden = torch.ones(batch.inputs_BT.numel(), model.spec.width)
        return model.raw_logits(hidden).square().mean()

    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    micro = list(islice(world.batches(world.train), 1))
    stepper.step(only_the_head, micro, lr_scale=1.0, momentum_step=0)
    shrunk = before["up_bank"] * (1 - world.optim.muon.lr * world.optim.muon.weight_decay)
    torch.testing.assert_close(model.up_bank.detach(), shrunk)


def test_after_reset_the_next_step_is_the_first_one(world: Any) -> None:
    micro = list(islice(world.batches(world.train), 4))
    model, fresh = world.fresh_model(), world.fresh_model()
    initial = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    stepper, untouched = (Stepper(each, world.optim, world.ranks) for each in (model, fresh))
    for step in range(3):
        stepper.step(loss_of(model), micro[2:], lr_scale=1.0, momentum_step=step)
    assert any(tensor.any() for tensor in stepper.state_tensors())
    stepper.reset()
    assert not any(tensor.any() for tensor in stepper.state_tensors())
    for name, parameter in model.named_parameters():
        parameter.data.copy_(initial[name])
    stepper.step(loss_of(model), micro[:2], lr_scale=1.0, momentum_step=0)
    untouched.step(loss_of(fresh), micro[:2], lr_scale=1.0, momentum_step=0)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, dict(fresh.named_parameters())[name])
