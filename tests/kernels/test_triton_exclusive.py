import torch

from fairway.kernels.fused_exclusive import fused_exclude_self


def formula(y, v, gate):
    own = v.repeat_interleave(y.shape[-2] // v.shape[-2], dim=-2)
    z = y - (y * own).sum(-1, keepdim=True) * own / own.square().sum(-1, keepdim=True)
    return z if gate is None else z * torch.sigmoid(gate)[..., None]


def test_exclusion_and_gate_and_their_gradients_follow_the_formula(hold_against, normal):
    inputs = [normal(2, 21, 6, 24), normal(2, 21, 3, 24), normal(2, 21, 6)]
    hold_against(fused_exclude_self, formula, inputs)


def test_exclusion_without_a_gate_follows_the_formula(hold_against, normal):
    inputs = [normal(1, 35, 4, 16), normal(1, 35, 4, 16)]
    hold_against(lambda y, v: fused_exclude_self(y, v, None), lambda y, v: formula(y, v, None), inputs)


def test_a_value_of_zero_excludes_nothing(form_device, normal):
    y = normal(1, 3, 2, 8).to(form_device)
    assert torch.equal(fused_exclude_self(y, torch.zeros_like(y[..., :1, :]), None), y)
