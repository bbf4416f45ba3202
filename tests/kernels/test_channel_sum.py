import pytest
import torch

from fairway.kernels.channel_sum import channel_sum


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("weighted", [(True, True), (False, True), (True, False, True), (False, False)])
def test_values_and_gradients_equal_the_definition(weighted):
    target = random(2, 3, 4, seed=99)
    results = []
    for function in (channel_sum, lambda *terms: sum(x if w is None else x * w for x, w in terms)):
        streams = [random(2, 3, 4, seed=i).requires_grad_() for i, _ in enumerate(weighted)]
        weights = [random(4, seed=10 + i).requires_grad_() if has else None for i, has in enumerate(weighted)]
        y = function(*zip(streams, weights, strict=True))
        leaves = streams + [w for w in weights if w is not None]
        results.append([y, *torch.autograd.grad((y * target).sum(), leaves)])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow)


def test_what_needs_no_gradient_gets_none():
    x, y, w = random(3, 4, seed=0), random(3, 4, seed=1).requires_grad_(), random(4, seed=2)
    channel_sum((x, w), (y, None)).sum().backward()
    assert x.grad is None and w.grad is None
    assert torch.equal(y.grad, torch.ones(3, 4, dtype=torch.float64))
