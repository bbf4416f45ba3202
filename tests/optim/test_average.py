"""Means of snapshots against means of weights that were written down."""

import torch
from torch import nn

from fairway.optim.average import Snapshots
from fairway.spec.optim import LawaAverage, SwaAverage


def run(spec, scales: list[float]) -> tuple[torch.Tensor, list[torch.Tensor], Snapshots]:
    """Weights at the end, weights after each step, and the average itself."""
    weight = nn.Parameter(torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).bfloat16())
    average, seen = Snapshots({"weight": weight}, spec), []
    for step, scale in enumerate(scales, 1):
        weight.data.add_(torch.randn(3, 4, generator=torch.Generator().manual_seed(step)))
        seen.append(weight.detach().float())
        average.look(step, scale)
        average.update()
    average.load_into_weights()
    return weight.detach(), seen, average


def test_swa_is_the_mean_of_every_third_step_below_the_scale() -> None:
    scales = [1.0] * 6 + [0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.0]
    weight, seen, average = run(SwaAverage(every=3, below_scale=0.4), scales)
    assert average.taken == 2  # after steps 9 and 12
    assert torch.equal(weight, ((seen[8] + seen[11]) / 2).bfloat16())


def test_swa_sums_in_float32() -> None:
    weight, seen, average = run(SwaAverage(every=1, below_scale=2.0), [1.0] * 300)
    torch.testing.assert_close(weight, torch.stack(seen).double().mean(0).bfloat16(), rtol=2**-7, atol=0.0)
    assert average.taken == 300


def test_lawa_is_the_mean_of_the_latest_snapshots_only() -> None:
    weight, seen, average = run(LawaAverage(every=2, keep=3), [1.0] * 11)
    assert average.taken == 3
    assert torch.equal(weight, ((seen[5] + seen[7] + seen[9]) / 3).bfloat16())


def test_without_a_snapshot_the_weights_stay() -> None:
    weight, seen, average = run(SwaAverage(every=2, below_scale=0.1), [1.0] * 5)
    assert average.taken == 0 and torch.equal(weight.float(), seen[-1])
