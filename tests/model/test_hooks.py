import pytest
import torch

from fairway.kernels.hadamard import hadamard_rotation
from fairway.model.banks import bank, unbank
from fairway.model.depth import schedule
from fairway.model.gpt import Gpt
from fairway.model.hooks import HEAD_IN, OBSERVED_PARTS, PLAIN, Hooks, Site
from fairway.model.init import initialise
from fairway.spec.model import Loops, ModelSpec, TwoLanes

SPEC = ModelSpec(
    vocab_size=300,
    layers=4,
    width=32,
    heads=4,
    kv_heads=2,
    mlp_width=64,
    rope_dims=4,
    xsa_last=2,
    loops=Loops(first=1, last=2, extra=1),
    lanes=TwoLanes(start=3),
)
TOKENS = torch.arange(24).view(2, 12) * 7 % 300


@pytest.fixture
def model():
    model = Gpt(SPEC)
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


@pytest.mark.parametrize("looped", [False, True])
def test_every_linear_input_is_observed_once_a_slot_and_the_head_once(model, looped):
    seen = []
    model(TOKENS, looped=looped, hooks=Hooks(observe=lambda site, x: seen.append((site, tuple(x.shape)))))
    slots = schedule(SPEC, looped).slots
    expected = {
        (Site(slot, layer, part), (2, 12, 64 if part == "mlp_proj_in" else 32))
        for slot, layer in enumerate(slots)
        for part in OBSERVED_PARTS
    }
    assert set(seen) == expected | {(HEAD_IN, (2, 12, 32))}
    assert len(seen) == len(set(seen))


def test_observing_changes_nothing_bit_for_bit(model):
    watched = model(TOKENS, looped=True, hooks=Hooks(observe=lambda site, x: None))
    assert torch.equal(watched, model(TOKENS, looped=True, hooks=PLAIN))


def test_rotated_inputs_and_rotated_weights_are_the_same_function(model):
    widths = {"attn_in": 32, "attn_proj_in": 32, "mlp_in": 32, "mlp_proj_in": 64}
    rotations = {part: hadamard_rotation(width, 1, part) for part, width in widths.items()}
    reads = {"q": "attn_in", "k": "attn_in", "v": "attn_in", "o": "attn_proj_in", "up": "mlp_in", "down": "mlp_proj_in"}
    matrices = unbank(model.state_dict(), SPEC)
    for name in matrices:
        if name.startswith("blocks."):
            matrices[name] = matrices[name] @ rotations[reads[name.rsplit(".", 1)[1]]]
    rotated = Gpt(SPEC)
    rotated.load_state_dict(bank(matrices, SPEC))
    online = Hooks(rotate=lambda part, x: x @ rotations[part] if part in rotations else x)
    with torch.no_grad():
        torch.testing.assert_close(
            rotated(TOKENS, looped=True, hooks=online), model(TOKENS, looped=True), atol=1e-3, rtol=1e-3
        )
        assert not torch.allclose(rotated(TOKENS, looped=True), model(TOKENS, looped=True), atol=1e-2)


def test_adapters_are_given_the_input_before_rotation(model):
    inputs = {}
    hooks = Hooks(
        adapt=lambda site, x, y: (inputs.setdefault(site, x), y)[1],
        rotate=lambda part, x: x * 0.0,
    )
    with torch.no_grad():
        model(TOKENS, looped=False, hooks=hooks)
    assert all(x.any() for x in inputs.values())
    torch.testing.assert_close(inputs[Site(0, 0, "o")], inputs[Site(0, 0, "q")])
