import pytest

from fairway.errors import GateError
from fairway.model.banks import unbank
from fairway.quant.plan import KEPT_BITS, grid_of, input_part, plan
from fairway.spec.roles import ATTENTION_ROLES, MLP_ROLES, Role


def test_every_tensor_of_the_model_gets_one_treatment_and_only_controls_are_kept(model, quant_spec):
    state = unbank(model.state_dict(), model.spec)
    treatments = plan({name: tensor.shape for name, tensor in state.items()}, quant_spec)
    assert sorted(t.name for t in treatments) == sorted(state)
    assert all(t.shape == tuple(state[t.name].shape) for t in treatments)
    assert all((t.grid is None) == (t.role is Role.CONTROL) == (t.bits == KEPT_BITS) for t in treatments)


def test_each_role_has_the_grid_that_the_recipe_gives_it(quant_spec):
    grids = {role: grid_of(role, quant_spec) for role in Role}
    assert all(grids[role] is quant_spec.attention for role in ATTENTION_ROLES)
    assert all(grids[role] is quant_spec.mlp for role in MLP_ROLES)
    assert grids[Role.EMBEDDING] is quant_spec.embedding
    assert grids[Role.CONTROL] is None


def test_order_is_by_role_then_layer_by_number_whatever_the_order_of_names(quant_spec):
    names = ["q_gain", *(f"blocks.{i}.{part}" for i in (10, 2, 0) for part in ("up", "q")), "embedding"]
    expected = ["embedding", *(f"blocks.{i}.{part}" for part in ("q", "up") for i in (0, 2, 10)), "q_gain"]
    for order in (names, names[::-1]):
        assert [t.name for t in plan(dict.fromkeys(order, (4, 4)), quant_spec)] == expected


def test_a_tensor_without_a_role_and_a_bank_stop_the_run(quant_spec):
    with pytest.raises(GateError, match=r"'lm_head' has no role"):
        plan({"lm_head": (4, 4)}, quant_spec)
    with pytest.raises(GateError, match=r"'qo_bank' has no role"):
        plan({"qo_bank": (2, 4, 4)}, quant_spec)
    with pytest.raises(GateError, match=r"blocks.0.q must be a matrix .* \[4\]"):
        plan({"blocks.0.q": (4,)}, quant_spec)


def test_matrices_read_the_four_inputs_of_a_block_and_nothing_else_does():
    assert [input_part(f"blocks.7.{part}") for part in ("q", "k", "v", "o", "up", "down")] == [
        "attn_in",
        "attn_in",
        "attn_in",
        "attn_proj_in",
        "mlp_in",
        "mlp_proj_in",
    ]
    assert input_part("embedding") is None
    assert input_part("attn_scale") is None
