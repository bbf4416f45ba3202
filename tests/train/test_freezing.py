"""Layers that stop learning late in training."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fairway.data.batches import packed_batches
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.spec.mechanisms import AddedSkips, DenseHeadGate
from fairway.spec.model import NoLoops, OneLane
from fairway.spec.train import LateFreezing, LateRounding
from fairway.train.freezing import FreezingStepper, FrozenGpt
from fairway.train.step import Stepper

MECHANISMS = {
    "loops": NoLoops(),
    "lanes": OneLane(),
    "skips": AddedSkips(),
    "value_residual": True,
    "star_relu": True,
    "head_gate": DenseHeadGate(bias=4.0),
}


@pytest.fixture(params=[{}, {"q_rank": 3}, MECHANISMS], ids=["loops", "factored Q", "checkpoint-lab"])
def model(request: Any, world: Any) -> Gpt:
    model = Gpt(replace(world.model, **request.param))
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


def halves(model: Gpt, name: str, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Entries of the first half of the layers and of the second."""
    rows = tensor.unflatten(0, (-1, model.spec.layers)).flatten(2) if tensor.ndim > 1 else tensor.view(1, -1, 1)
    return rows[:, : model.spec.layers // 2], rows[:, model.spec.layers // 2 :]


def of_layers(model: Gpt) -> list[str]:
    """Names of parameters that have a part of their own for each layer."""
    tables = ("embedding", "skip_weight", "skip_gate")
    return [name for name, _ in model.named_parameters() if name not in tables]


def gradients(model: Gpt, forward: Gpt) -> dict[str, torch.Tensor]:
    tokens = torch.randint(2, 32, (2, 13), generator=torch.Generator().manual_seed(3))
    model.zero_grad()
    forward.loss(tokens[:, :-1], tokens[:, 1:], looped=True).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_the_frozen_forward_is_the_same_and_only_the_first_layers_have_no_gradient(model: Gpt) -> None:
    frozen = FrozenGpt(model)
    tokens = torch.randint(2, 32, (2, 13), generator=torch.Generator().manual_seed(0))
    assert torch.equal(frozen(tokens, looped=True), model(tokens, looped=True))
    whole, partial = gradients(model, model), gradients(model, frozen)
    assert whole.keys() == partial.keys()
    for name in whole:
        if name in of_layers(model):
            first, last = halves(model, name, partial[name])
            assert not first.any(), name
            torch.testing.assert_close(last, halves(model, name, whole[name])[1], msg=name)
        else:
            torch.testing.assert_close(partial[name], whole[name], msg=name)


def test_steps_after_the_freeze_move_all_but_the_first_layers(model: Gpt, world: Any) -> None:
    stepper, frozen = FreezingStepper(model, world.optim, world.ranks), FrozenGpt(model)
    batches = packed_batches(world.shards, tokens=64, context=16)

    def step(forward: Gpt) -> None:
        def loss_fn(batch: Any) -> torch.Tensor:
            bounds = batch.cu_seqlens
            return forward.loss(batch.inputs_BT, batch.targets_BT, looped=True, cu_seqlens=bounds, max_len=16)

        stepper.step(loss_fn, [next(batches)], lr_scale=1.0, momentum_step=0)

    step(model)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step(model)
    for name, p in model.named_parameters():
        assert not torch.equal(p, before[name]), name
    stepper.freeze()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step(frozen)
    step(frozen)
    for name, p in model.named_parameters():
        if name in of_layers(model):
            (first, last), (was_first, was_last) = halves(model, name, p.detach()), halves(model, name, before[name])
            assert torch.equal(first, was_first) and not torch.equal(last, was_last), name
        else:
            assert not torch.equal(p, before[name]), name


def test_training_freezes_from_the_step_whose_rate_is_low_enough(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    step = Stepper.step

    def watched(stepper: Stepper, *arguments: Any, **options: Any) -> Any:
        seen.append(stepper.parameters["up_bank"].detach().clone())
        return step(stepper, *arguments, **options)

    monkeypatch.setattr(Stepper, "step", watched)
    spec = replace(world.train, steps=8, freezing=LateFreezing(below_scale=0.6))
    outcome = world.run(spec, replace(world.optim, warmdown_fraction=0.5, ema_decay=0.0))
    # Multipliers are 1 four times, then 1, 0.75, 0.5, 0.25: the last two steps leave the first two layers alone.
    (event,) = outcome.of("freezing_on")
    assert (event["step"], event["lr_scale"]) == (6, 0.5)
    banks = [*seen, dict(outcome.model.named_parameters())["up_bank"].detach()]
    moved = [not torch.equal(a[:2], b[:2]) for a, b in zip(banks, banks[1:], strict=False)]
    assert moved == [True] * 6 + [False] * 2
    assert all(not torch.equal(a[2:], b[2:]) for a, b in zip(banks, banks[1:], strict=False))


def test_a_run_that_never_gets_there_is_the_run_without_freezing(world: Any) -> None:
    never = world.run(replace(world.train, freezing=LateFreezing(below_scale=0.0)))
    assert never.same_weights(world.run()) and not never.of("freezing_on")
    warm = world.run(replace(world.train, freezing=LateFreezing(below_scale=0.5), warmup_steps=2))
    assert warm.same_weights(world.run(replace(world.train, freezing=LateFreezing(below_scale=0.5))))
    assert not warm.same_weights(never)


def test_freezing_and_rounding_together_are_refused(world: Any) -> None:
    with pytest.raises(ValueError, match="rounding and freezing cannot both be of kind late"):
        replace(world.train, freezing=LateFreezing(), rounding=LateRounding())
