import pytest
import torch

from fairway.model.banks import bank, unbank
from fairway.model.gpt import Gpt
from fairway.quant.rotation import bake, bake_hessian, online_hooks, rotations, unbake
from fairway.spec.quant import Hadamard, NoRotation


def shapes_of(model):
    return {name: tensor.shape for name, tensor in unbank(model.state_dict(), model.spec).items()}


def test_four_inputs_have_a_rotation_of_their_own_of_their_width_and_the_embedding_has_none(model):
    turns = rotations(shapes_of(model), Hadamard())
    widths = {"attn_in": 48, "attn_proj_in": 48, "mlp_in": 48, "mlp_proj_in": 96}
    assert {part: tuple(turn.shape) for part, turn in turns.items()} == {p: (w, w) for p, w in widths.items()}
    for turn in turns.values():
        torch.testing.assert_close(turn @ turn.T, torch.eye(len(turn)), atol=1e-5, rtol=0)
    assert not torch.allclose(turns["attn_in"], turns["mlp_in"])
    assert not torch.allclose(turns["attn_in"], rotations(shapes_of(model), Hadamard(seed=1))["attn_in"])
    assert rotations(shapes_of(model), NoRotation()) == {}


def test_folding_back_undoes_baking(model):
    turn = rotations(shapes_of(model), Hadamard())["attn_in"]
    w = torch.randn(20, 48, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(unbake(bake(w, turn), turn), w, atol=1e-5, rtol=0)
    assert not torch.allclose(bake(w, turn), w)


def test_a_baked_hessian_is_that_of_rotated_inputs_symmetric_and_of_the_same_trace(model):
    turn = rotations(shapes_of(model), Hadamard())["attn_in"]
    x = torch.randn(300, 48, generator=torch.Generator().manual_seed(0)) * torch.arange(48)
    baked = bake_hessian(x.T @ x, turn)
    torch.testing.assert_close(baked, (x @ turn).T @ (x @ turn), rtol=1e-3, atol=50.0)
    assert torch.equal(baked, baked.T)
    assert float(baked.trace()) == pytest.approx(float((x.T @ x).trace()), rel=1e-5)


def test_baking_spreads_outliers_over_all_columns(model):
    turn = rotations(shapes_of(model), Hadamard())["attn_in"]
    w = torch.zeros(10, 48)
    w[:, 7] = 1.0
    assert float(bake(w, turn).abs().max()) < 0.4


@pytest.mark.parametrize("looped", [False, True])
@torch.no_grad()
def test_a_baked_model_under_online_hooks_computes_what_the_plain_model_does(model, looped):
    turns = rotations(shapes_of(model), Hadamard())
    parts = {"q": "attn_in", "k": "attn_in", "v": "attn_in", "o": "attn_proj_in", "up": "mlp_in", "down": "mlp_proj_in"}
    state = unbank(model.state_dict(), model.spec)
    state = {n: bake(w, turns[parts[n.split(".")[2]]]) if n.startswith("blocks.") else w for n, w in state.items()}
    baked = Gpt(model.spec)
    baked.load_state_dict(bank(state, model.spec))
    tokens = torch.randint(300, (2, 24), generator=torch.Generator().manual_seed(1))
    plain = model(tokens, looped=looped)
    torch.testing.assert_close(baked(tokens, looped=looped, hooks=online_hooks(turns)), plain, atol=1e-4, rtol=1e-4)
    assert float((baked(tokens, looped=looped) - plain).abs().max()) > 0.01
