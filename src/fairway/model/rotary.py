"""Heads of unit norm, a part of each rotated by its position (partial RoPE)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


class Rotary(NamedTuple):
    """Cosines and sines of each token's angles, shaped to broadcast over heads; ``rope_dims / 2`` of each."""

    cos: Float[Tensor, "*T 1 half"]
    sin: Float[Tensor, "*T 1 half"]


def rotary_table(positions_T: Int[Tensor, " T"], rope_dims: int, base: float, dtype: torch.dtype) -> Rotary:
    """The table of given positions; angles in float32, exponents over ``rope_dims`` (not the head's width)."""
    exponents = torch.arange(0, rope_dims, 2, dtype=torch.float32, device=positions_T.device) / max(rope_dims, 1)
    angles = torch.outer(positions_T.float(), base**-exponents)[:, None, :]
    return Rotary(cos=angles.cos().to(dtype), sin=angles.sin().to(dtype))


def rotate_half(x: Float[Tensor, "*T heads K"], rotary: Rotary) -> Float[Tensor, "*T heads K"]:
    """First rotated dimensions paired with the second half of them (half-split layout); the rest of a head stays."""
    half = rotary.cos.shape[-1]
    if half == 0:
        return x
    a, b, rest = x.split([half, half, x.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * rotary.cos + b * rotary.sin, b * rotary.cos - a * rotary.sin, rest], dim=-1)


def unit_heads(x: Float[Tensor, "*T heads K"]) -> Float[Tensor, "*T heads K"]:
    """Each head divided by its root mean square."""
    return F.rms_norm(x, x.shape[-1:])
