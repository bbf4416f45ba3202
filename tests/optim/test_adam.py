"""AdamW with the two groups' rates and decays."""

import torch
from torch import nn

from fairway.optim.adam import Adam
from fairway.optim.groups import ParameterGroups
from fairway.spec.optim import AdamSpec

SPEC = AdamSpec(embed_lr=0.03, scalar_lr=0.02, embed_weight_decay=0.5, scalar_weight_decay=0.1, beta1=0.9, beta2=0.95)


def make() -> tuple[ParameterGroups, Adam]:
    random = torch.Generator().manual_seed(0)
    embedding = {"embedding": nn.Parameter(torch.randn(6, 4, generator=random))}
    control = {name: nn.Parameter(torch.randn(3, generator=random)) for name in ("attn_scale", "mlp_scale")}
    groups = ParameterGroups({}, embedding, control)
    return groups, Adam(groups, SPEC)


def reference_step(
    weight: torch.Tensor, gradients: list[torch.Tensor], rate: float, decay: float, scales: list[float]
) -> torch.Tensor:
    """Loshchilov and Hutter's algorithm 2, written out in float64."""
    weight, first, second = weight.double(), torch.zeros(()).double(), torch.zeros(()).double()
    for step, (gradient, scale) in enumerate(zip(gradients, scales, strict=True), start=1):
        g = gradient.double()
        first = SPEC.beta1 * first + (1 - SPEC.beta1) * g
        second = SPEC.beta2 * second + (1 - SPEC.beta2) * g * g
        direction = (first / (1 - SPEC.beta1**step)) / ((second / (1 - SPEC.beta2**step)).sqrt() + SPEC.eps)
        weight = weight * (1 - rate * scale * decay) - rate * scale * direction
    return weight


def test_both_groups_step_as_the_paper_says_with_their_own_rate_and_decay() -> None:
    groups, adam = make()
    random = torch.Generator().manual_seed(1)
    scales = [1.0, 0.5, 0.1]
    gradients = {n: [torch.randn(p.shape, generator=random) for _ in scales] for n, p in groups.all().items()}
    initial = {name: parameter.detach().clone() for name, parameter in groups.all().items()}
    for step, scale in enumerate(scales):
        for name, parameter in groups.all().items():
            parameter.grad = gradients[name][step]
        adam.step(lr_scale=scale)
    for name, parameter in groups.all().items():
        rate, decay = (0.03, 0.5) if name == "embedding" else (0.02, 0.1)
        expected = reference_step(initial[name], gradients[name], rate, decay, scales)
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-5, atol=1e-6)


def test_after_reset_the_next_step_is_the_first_one() -> None:
    groups, adam = make()
    fresh_groups, fresh = make()
    initial = {name: parameter.detach().clone() for name, parameter in groups.all().items()}
    for parameter in groups.all().values():
        parameter.grad = torch.ones_like(parameter)
    adam.step(lr_scale=1.0)
    assert adam.state_tensors()
    adam.reset()
    assert adam.state_tensors() == []
    for name, parameter in groups.all().items():
        parameter.data.copy_(initial[name])
        parameter.grad = torch.full_like(parameter, -2.0)
        fresh_groups.all()[name].grad = torch.full_like(parameter, -2.0)
    adam.step(lr_scale=0.3)
    fresh.step(lr_scale=0.3)
    for name, parameter in groups.all().items():
        assert torch.equal(parameter, fresh_groups.all()[name])
