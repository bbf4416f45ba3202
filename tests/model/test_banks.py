from dataclasses import replace

import pytest
import torch

from fairway.model.banks import bank, unbank
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.spec.model import ModelSpec, OneLane, TwoLanes
from fairway.spec.roles import Role, role_of

SPEC = ModelSpec(
    vocab_size=300, layers=3, width=16, heads=2, kv_heads=1, mlp_width=24, rope_dims=4, lanes=TwoLanes(start=2)
)


def state():
    model = Gpt(SPEC)
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model.state_dict()


def test_banking_undoes_unbanking():
    before = state()
    after = bank(unbank(before, SPEC), SPEC)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_slices_get_the_layer_and_part_they_are():
    before = state()
    after = unbank(before, SPEC)
    assert torch.equal(after["blocks.1.q"], before["qo_bank"][1])
    assert torch.equal(after["blocks.1.o"], before["qo_bank"][4])
    assert torch.equal(after["blocks.2.k"], before["kv_bank"][2])
    assert torch.equal(after["blocks.0.v"], before["kv_bank"][3])
    assert torch.equal(after["blocks.2.up"], before["up_bank"][2])
    assert torch.equal(after["blocks.2.down"], before["down_bank"][2])


def test_every_unbanked_name_has_a_role_and_none_has_two_axes_but_matrices():
    for name, tensor in unbank(state(), SPEC).items():
        assert role_of(name) in Role
        assert (tensor.ndim == 2) or role_of(name) == Role.CONTROL


def test_a_missing_matrix_and_one_too_many_are_named():
    matrices = unbank(state(), SPEC)
    with pytest.raises(ValueError, match=r"missing for 3 layers: blocks\.1\.k"):
        bank({name: tensor for name, tensor in matrices.items() if name != "blocks.1.k"}, SPEC)
    with pytest.raises(ValueError, match=r"blocks\.2\.\w+ is of layer 2, but there are 2 layers"):
        bank(matrices, replace(SPEC, layers=2, lanes=OneLane()))
    with pytest.raises(ValueError, match="must hold 8 matrices, got 6"):
        unbank(state(), replace(SPEC, layers=4))
