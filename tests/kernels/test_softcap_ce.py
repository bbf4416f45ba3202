import pytest
import torch
import torch.nn.functional as F

from fairway.kernels.softcap_ce import softcap, softcap_ce


def case(rows, vocab, *, scale=20.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.randn(rows, vocab, generator=generator) * scale).requires_grad_()
    return logits, torch.randint(0, vocab, (rows,), generator=generator)


# The last shape needs several blocks, the one before it a block a row.
@pytest.mark.parametrize("shape", [(1, 5), (7, 300), (3, 300_000), (1100, 600)])
@pytest.mark.parametrize("cap", [1.0, 30.0, 500.0])
def test_nats_and_gradients_equal_the_cross_entropy_of_softcapped_logits(shape, cap):
    logits, targets = case(*shape)
    weight = torch.linspace(-1, 2, shape[0])
    nats = softcap_ce(logits, targets, cap)
    (grad,) = torch.autograd.grad((nats * weight).sum(), logits)
    twin = logits.detach().double().requires_grad_()
    expected = F.cross_entropy(torch.tanh(twin / cap) * cap, targets, reduction="none")
    (expected_grad,) = torch.autograd.grad((expected * weight).sum(), twin)
    torch.testing.assert_close(nats.double(), expected, atol=2e-5, rtol=2e-6)
    torch.testing.assert_close(grad.double(), expected_grad, atol=1e-6, rtol=1e-4)


def test_nats_are_the_same_without_a_gradient():
    logits, targets = case(40, 50)
    assert torch.equal(softcap_ce(logits, targets, 30.0), softcap_ce(logits.detach(), targets, 30.0))


def test_logits_of_half_precision_get_gradients_of_their_own_dtype():
    logits, targets = case(4, 9)
    logits = logits.detach().bfloat16().requires_grad_()
    nats = softcap_ce(logits, targets, 30.0)
    nats.sum().backward()
    assert nats.dtype == torch.float32
    assert logits.grad.dtype == torch.bfloat16


def test_a_softcap_stays_within_its_cap_and_keeps_small_logits():
    x = torch.tensor([-1e6, -0.01, 0.0, 0.01, 1e6])
    torch.testing.assert_close(softcap(x, 30.0), torch.tensor([-30.0, -0.01, 0.0, 0.01, 30.0]))
