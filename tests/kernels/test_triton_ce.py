import torch

from fairway.kernels.fused_ce import head_ce, softcap_ce_


def formula(hidden, embedding, targets, cap):
    z = cap * torch.tanh(hidden @ embedding.mT / cap)
    return z.logsumexp(1) - z.gather(1, targets[:, None]).squeeze(1)


def test_head_and_cross_entropy_and_their_gradients_follow_the_formula(hold_against, normal):
    targets = torch.randint(0, 301, (37,), generator=torch.Generator().manual_seed(1))
    inputs = [normal(37, 24), normal(301, 24), targets]
    cap = 15.0
    hold_against(lambda *each: head_ce(*each, cap), lambda *each: formula(*each, cap), inputs)


def test_the_gradient_takes_the_place_of_the_logits_only_if_it_is_asked_for(form_device, normal):
    logits, targets = (normal(6, 50) * 20).to(form_device), torch.arange(6).to(form_device)
    kept = logits.clone()
    nats = softcap_ce_(kept, targets, 10.0, False)
    assert torch.equal(kept, logits)
    assert torch.equal(softcap_ce_(kept, targets, 10.0, True), nats) and nats.dtype == torch.float32
    leaf = logits.double().requires_grad_()
    z = 10.0 * torch.tanh(leaf / 10.0)
    (z.logsumexp(1) - z.gather(1, targets[:, None]).squeeze(1)).sum().backward()
    torch.testing.assert_close(kept.double(), leaf.grad, rtol=1e-5, atol=1e-7)


def test_logits_far_beyond_the_cap_give_finite_numbers(form_device):
    logits = torch.tensor([[1e4, -1e4, 0.0], [-3e4, 3e4, 1.0]], device=form_device)
    nats = softcap_ce_(logits, torch.tensor([0, 0], device=form_device), 30.0, True)
    assert torch.isfinite(nats).all() and torch.isfinite(logits).all()
    torch.testing.assert_close(nats.cpu(), torch.tensor([0.0, 60.0]), rtol=1e-6, atol=1e-6)
