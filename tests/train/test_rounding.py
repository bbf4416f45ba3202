"""Rounding in the forward of training, against weights that were rounded beforehand."""

from dataclasses import replace

import torch

from fairway.spec.train import LateRounding
from fairway.train.rounding import rounded_rows

SPEC = LateRounding(bits=4)


def test_rows_lie_on_their_grid_and_the_gradient_passes_through() -> None:
    w = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()
    rounded = rounded_rows(w, replace(SPEC, scale_floor=0.3))
    for matrix, wanted in zip(rounded, w.detach(), strict=True):
        for row, true in zip(matrix, wanted, strict=True):
            step = max(float(true.abs().max()) / 7, 0.3)
            slow = torch.tensor([step * min(max(round(float(x) / step), -8), 7) for x in true])
            torch.testing.assert_close(row.detach(), slow)
    (rounded * torch.arange(48.0).view(2, 3, 8)).sum().backward()
    assert torch.equal(w.grad, torch.arange(48.0).view(2, 3, 8))


def test_rounding_begins_when_the_rate_is_low_and_changes_the_weights(world) -> None:
    spec = replace(world.train, warmup_steps=1, log_every=1)
    late = world.run(replace(spec, rounding=LateRounding(below_scale=0.5, bits=3)))
    never = world.run(replace(spec, rounding=LateRounding(below_scale=0.0, bits=3)))
    without = world.run(spec)
    assert never.same_weights(without) and not late.same_weights(without)
    (began,) = late.of("rounding_on")
    losses = [[step["loss_nats"] for step in run.of("step")] for run in (late, without)]
    first = began["step"]
    assert losses[0][:first] == losses[1][:first] and losses[0][first] != losses[1][first]
    assert not never.of("rounding_on")
