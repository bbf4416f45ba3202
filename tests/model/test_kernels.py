import functools
from dataclasses import replace

import pytest
import torch

from fairway.model.gpt import Gpt
from fairway.model.hooks import Hooks
from fairway.model.init import initialise
from fairway.spec.mechanisms import AddedSkips, SparseHeadGate
from fairway.spec.model import Kernels, Loops, ModelSpec, TwoLanes

ALL = Kernels(mlp="triton", head="triton", rotary="triton", exclusive="triton", junction="triton")
SPEC = ModelSpec(
    vocab_size=40,
    layers=6,
    width=24,
    heads=4,
    kv_heads=2,
    mlp_width=40,
    rope_dims=4,
    xsa_last=4,
    lanes=TwoLanes(start=2),
)
VARIANTS = {
    "lanes": SPEC,
    "loops": replace(SPEC, loops=Loops(first=2, last=4, extra=1)),
    "gate": replace(SPEC, head_gate=SparseHeadGate(inputs=8)),
    "added skips": replace(SPEC, skips=AddedSkips()),
}


@pytest.fixture(autouse=True)
def torch_form(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def gradients(spec: ModelSpec, hooks: Hooks | None = None) -> dict[str, torch.Tensor]:
    """Loss and gradients of a model whose every parameter is off its neutral value."""
    model = Gpt(spec)
    initialise(model, 0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    tokens = torch.randint(0, spec.vocab_size, (2, 30), generator=generator)
    extra = {} if hooks is None else {"hooks": hooks}
    loss = model.loss(tokens[:1], tokens[1:], looped=True, cu_seqlens=torch.tensor([0, 11, 30]), max_len=19, **extra)
    loss.backward()
    return {"loss": loss.detach(), **{name: parameter.grad for name, parameter in model.named_parameters()}}


@functools.cache
def plain(name: str) -> dict[str, torch.Tensor]:
    return gradients(VARIANTS[name])


def assert_same(found: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    for name, each in right.items():
        assert (found[name] - each).norm() <= 3e-5 * each.norm() + 1e-9, name


@pytest.mark.parametrize("name", VARIANTS)
def test_loss_and_gradients_with_all_kernels_are_those_without(name):
    assert_same(gradients(replace(VARIANTS[name], kernels=ALL)), plain(name))


@pytest.mark.parametrize("part", ["mlp", "head", "rotary", "exclusive", "junction"])
def test_each_kernel_can_be_chosen_by_itself(part):
    assert_same(gradients(replace(SPEC, kernels=Kernels(**{part: "triton"}))), plain("lanes"))


def test_hooks_see_what_they_see_without_kernels():
    seen: dict[str, list[tuple[object, torch.Tensor]]] = {"torch": [], "triton": []}
    for kind, spec in (("torch", SPEC), ("triton", replace(SPEC, kernels=ALL))):
        hooks = Hooks(observe=lambda site, x, kind=kind: seen[kind].append((site, x.detach())))
        assert_same(gradients(spec, hooks), plain("lanes"))
    assert [site for site, _ in seen["torch"]] == [site for site, _ in seen["triton"]]
    for (_, a), (_, b) in zip(seen["torch"], seen["triton"], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_an_activation_that_the_kernel_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"kernels\.mlp must be torch where star_relu is on"):
        replace(SPEC, star_relu=True, kernels=ALL)


def test_a_gpu_without_triton_is_refused_in_a_line(monkeypatch):
    from fairway.errors import RecipeError
    from fairway.kernels import operators

    monkeypatch.setattr(operators, "tl", None)
    with pytest.raises(RecipeError, match="package triton is not installed"):
        operators.TritonKernel(lambda: None)[(1,)]
