"""What a tensor is made of, op by op: the numbers of the losses in it, as often as they are in it."""

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from fairway.probes.trail import Trails

ROWS, LENGTH = 3, 4


class Following(TorchFunctionMode):
    """Follows everything from twelve losses, numbered in order."""

    def __init__(self, losses: Tensor) -> None:
        super().__init__()
        self.trails = Trails()
        self.trails.put(losses, torch.arange(losses.numel()).reshape(*losses.shape, 1))

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.trails.follow(func, getattr(func, "__name__", ""), args, kwargs or {}, out)
        return out


def followed(action) -> tuple[list[int], Trails]:
    losses = 1.0 + torch.rand(ROWS, LENGTH, generator=torch.Generator().manual_seed(0))
    mode = Following(losses)
    with mode:
        result = action(losses)
    trail = mode.trails.get(result)
    assert trail is not None, f"lost in {dict(mode.trails.lost)}"
    assert trail.ids.shape[:-1] == result.shape
    ids = trail.ids.flatten()
    return sorted(ids[ids >= 0].tolist()), mode.trails


def chosen(action) -> tuple[list[int], bool]:
    losses = torch.rand(ROWS, LENGTH, generator=torch.Generator().manual_seed(0))
    with Following(losses) as mode:
        result = action(losses)
    trail = mode.trails.get(result)
    assert trail is not None
    ids = trail.ids.flatten()
    return sorted(ids[ids >= 0].tolist()), trail.is_chosen


def running_sum(x: Tensor) -> Tensor:
    total = torch.zeros((), dtype=torch.float64)
    for row in x:
        total += row[2:].to(torch.float64).sum()
    return total / 6


def buffered(x: Tensor) -> Tensor:
    buffer = torch.zeros(20)
    buffer[4:8] = x[1]
    return buffer[:6].sum()


MASK = torch.tensor([True, False, False, True])
CASES = {
    "sum": (torch.sum, list(range(12))),
    "mean of a slice": (lambda x: x[1:, :2].mean(), [4, 5, 8, 9]),
    "sum over one dimension": (lambda x: x.sum(1)[2], [8, 9, 10, 11]),
    "sum over two dimensions": (lambda x: x.view(ROWS, 2, 2).sum((1, 2), keepdim=True)[0].sum(), [0, 1, 2, 3]),
    "mask by product": (lambda x: (x * MASK).sum(), [0, 3, 4, 7, 8, 11]),
    "mask by index": (lambda x: x[:, MASK].double().sum(), [0, 3, 4, 7, 8, 11]),
    "mask by where": (lambda x: torch.where(MASK, x, 0.0).sum(), [0, 3, 4, 7, 8, 11]),
    "mask by method": (lambda x: x.where(MASK, torch.zeros(())).sum(), [0, 3, 4, 7, 8, 11]),
    "running sum": (running_sum, [2, 3, 6, 7, 10, 11]),
    "buffer": (buffered, [4, 5]),
    "joined": (lambda x: torch.cat([x[0], torch.ones(2), x[2, :1]]).sum(), [0, 1, 2, 3, 8]),
    "stacked sums": (lambda x: torch.stack([x[0].sum(), x[1, :1].sum()]).sum(), [0, 1, 2, 3, 4]),
    "twice": (lambda x: x[0].sum() + x[0, :2].sum(), [0, 0, 1, 1, 2, 3]),
    "by document": (lambda x: torch.zeros(2).index_add_(0, torch.tensor([0, 1, 0, 1]), x[0]).sum(), [0, 1, 2, 3]),
    "scaled": (lambda x: (-(x[0] / 2).neg() + 1).reshape(2, 2).T.sum(), [0, 1, 2, 3]),
}


@pytest.mark.parametrize("name", CASES)
def test_a_result_is_known_by_the_losses_in_it(name):
    action, expected = CASES[name]
    assert followed(action)[0] == expected


def test_a_choice_by_outcome_is_told_from_a_plain_sum():
    def least(x: Tensor) -> Tensor:
        return torch.minimum(x[0], x[1]).sum()

    def by_branch(x: Tensor) -> Tensor:
        return torch.where(x[0] < x[1], x[0], x[1]).sum()

    def kept(x: Tensor) -> Tensor:
        return torch.where(x.isnan(), 0.0, x).clamp(max=9.0).maximum(torch.zeros(())).sum()

    for action in (least, by_branch, lambda x: x.min(0).values.sum(), lambda x: x.amin(0).sum()):
        _, is_chosen = chosen(action)
        assert is_chosen
    assert chosen(least)[0] == [0, 1, 2, 3, 4, 5, 6, 7]
    for action in (torch.sum, kept):
        assert chosen(action) == (list(range(12)), False)


def test_what_cannot_be_followed_is_named():
    losses = torch.rand(ROWS, LENGTH)
    with Following(losses) as mode:
        result = torch.fft.fft(losses, n=9).real
    assert mode.trails.get(result) is None
    assert dict(mode.trails.lost) == {"fft_fft": 1}
