"""Angles by which the leading part of each head is turned (partial RoPE)."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Rotary(NamedTuple):
    """Cosines and sines of each token's angles, shaped to broadcast over heads; ``rope_dims / 2`` of each."""

    cos: Float[Tensor, "T 1 half"]
    sin: Float[Tensor, "T 1 half"]


def rotary_table(positions_T: Int[Tensor, " T"], rope_dims: int, base: float, dtype: torch.dtype) -> Rotary:
    """The table of given positions; angles in float32, exponents over ``rope_dims`` (not the head's width)."""
    exponents = torch.arange(0, rope_dims, 2, dtype=torch.float32, device=positions_T.device) / max(rope_dims, 1)
    angles = torch.outer(positions_T.float(), base**-exponents)[:, None, :]
    return Rotary(cos=angles.cos().to(dtype), sin=angles.sin().to(dtype))
