"""Integers and steps: a uniform grid through zero, one step a row (SDClip, recipes D.1; pure).

The step is stored in half precision, so it is rounded *first*: encoding, GPTQ and decoding all see the step
that ships.
"""

import torch
from jaxtyping import Float, Float16, Int8
from torch import Tensor

from fairway.spec.quant import Grid

# The smallest positive half: a step of zero would turn a row of tiny weights into 0/0.
_GRID_SMALLEST_STEP = 2.0**-24


def largest_symbol(bits: int) -> int:
    """Symbols of a grid run from minus this to plus this: 2**(bits-1) - 1."""
    return 2 ** (bits - 1) - 1


def row_steps(w_OI: Float[Tensor, "O I"], grid: Grid) -> Float16[Tensor, " O"]:
    """clip_sigmas standard deviations of each row fall on the largest symbol; positive, in half precision.

    Not finite where the row is not, or where the step exceeds the range of halves.
    """
    sigma_O = w_OI.float().std(dim=1, correction=0)
    step_O = grid.clip_sigmas * sigma_O / largest_symbol(grid.bits)
    # maximum, unlike clamp, hands a NaN on
    floor = torch.tensor(max(grid.scale_floor, _GRID_SMALLEST_STEP), device=w_OI.device)
    return torch.maximum(step_O, floor).half()


def encode(w_OI: Float[Tensor, "O I"], step_O: Float16[Tensor, " O"], bits: int) -> Int8[Tensor, "O I"]:
    """The nearest symbol of each weight (ties to even), clamped to the grid."""
    largest = largest_symbol(bits)
    return (w_OI.float() / step_O.float()[:, None]).round().clamp(-largest, largest).to(torch.int8)


def decode(q_OI: Int8[Tensor, "O I"], step_O: Float16[Tensor, " O"]) -> Float[Tensor, "O I"]:
    """Symbol times step, in float32."""
    return q_OI.float() * step_O.float()[:, None]
