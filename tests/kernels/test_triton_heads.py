import torch

from fairway.kernels.fused_heads import fused_rotary_heads
from fairway.kernels.norms import RMS_EPS


def formula(x, gain, cos, sin):
    y = x / (x.square().mean(-1, keepdim=True) + RMS_EPS).sqrt()
    y = y if gain is None else y * gain[:, None]
    half = cos.shape[-1]
    a, b, rest = y[..., :half], y[..., half : 2 * half], y[..., 2 * half :]
    return torch.cat([a * cos + b * sin, b * cos - a * sin, rest], dim=-1)


def test_norm_gain_and_rotation_of_heads_and_their_gradients_follow_the_formula(
    hold_against, normal, dtype, form_device
):
    angles = normal(21, 1, 6)
    tables = [angles.cos().to(dtype), angles.sin().to(dtype)]
    ours, right = [each.to(form_device) for each in tables], [each.double() for each in tables]
    inputs = [normal(2, 21, 5, 24), normal(5)]
    hold_against(lambda x, gain: fused_rotary_heads(x, gain, *ours), lambda x, gain: formula(x, gain, *right), inputs)
    hold_against(lambda x: fused_rotary_heads(x, None, *ours), lambda x: formula(x, None, *right), inputs[:1])


def test_without_rotated_dimensions_heads_are_normalised_alone(hold_against, normal, dtype, form_device):
    none = torch.empty(7, 1, 0, dtype=dtype, device=form_device)
    right = torch.empty(7, 1, 0, dtype=torch.float64)
    inputs = [normal(1, 7, 3, 8)]
    hold_against(lambda x: fused_rotary_heads(x, None, none, none), lambda x: formula(x, None, right, right), inputs)
