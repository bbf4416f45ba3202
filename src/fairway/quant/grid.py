"""Integers and steps: a uniform grid through zero, one step a row (recipes D.1; pure).

The step is stored in half precision, so it is rounded *first*: encoding, GPTQ and decoding all see the step
that ships.
"""

import torch
from jaxtyping import Float, Float16, Int8
from torch import Tensor

from fairway.spec.quant import Grid, QuantileGrid, TrellisGrid

# The smallest positive half: a step of zero would turn a row of tiny weights into 0/0.
_GRID_SMALLEST_STEP = 2.0**-24


def largest_symbol(bits: int) -> int:
    """Symbols of a grid run from minus this to plus this: 2**(bits-1) - 1."""
    return 2 ** (bits - 1) - 1


def row_steps(w_OI: Float[Tensor, "O I"], grid: Grid | QuantileGrid | TrellisGrid) -> Float16[Tensor, " O"]:
    """What each row's clip over the largest symbol is; positive, in half precision.

    The clip is so many standard deviations of the row, or a quantile of its absolute values. Not finite where the row
    is not, or where the step exceeds the range of halves.
    """
    if isinstance(grid, QuantileGrid):
        return _grid_best_steps(w_OI.float(), grid)
    sigma_O = w_OI.float().std(dim=1, correction=0)
    step_O = grid.clip_sigmas * sigma_O / largest_symbol(grid.bits)
    # maximum, unlike clamp, hands a NaN on
    floor = torch.tensor(max(grid.scale_floor, _GRID_SMALLEST_STEP), device=w_OI.device)
    return torch.maximum(step_O, floor).half()


def quantile_steps(w_OI: Float[Tensor, "O I"], grid: QuantileGrid, quantile: float) -> Float16[Tensor, " O"]:
    """A quantile of each row's absolute values over the largest symbol, interpolated between neighbours."""
    step_O = w_OI.float().abs().quantile(quantile, dim=1) / largest_symbol(grid.bits)
    floor = torch.tensor(max(grid.scale_floor, _GRID_SMALLEST_STEP), device=w_OI.device)
    return torch.maximum(step_O, floor).half()


def _grid_best_steps(w_OI: Tensor, grid: QuantileGrid) -> Tensor:
    """Of the grid's quantiles those of least squared error, for each row or for all together; the first of equals."""
    steps_QO = torch.stack([quantile_steps(w_OI, grid, quantile) for quantile in grid.quantiles])
    if len(grid.quantiles) == 1:
        return steps_QO[0]
    errors = [(w_OI - decode(encode(w_OI, step_O, grid.bits), step_O)).square().sum(1) for step_O in steps_QO]
    errors_QO = torch.stack(errors)
    if grid.by == "matrix":
        errors_QO = errors_QO.sum(1, keepdim=True).expand_as(errors_QO)
    return steps_QO.gather(0, errors_QO.argmin(0, keepdim=True))[0]


def encode(w_OI: Float[Tensor, "O I"], step_O: Float16[Tensor, " O"], bits: int) -> Int8[Tensor, "O I"]:
    """The nearest symbol of each weight (ties to even), clamped to the grid."""
    largest = largest_symbol(bits)
    return (w_OI.float() / step_O.float()[:, None]).round().clamp(-largest, largest).to(torch.int8)


def decode(q_OI: Int8[Tensor, "O I"], step_O: Float16[Tensor, " O"]) -> Float[Tensor, "O I"]:
    """Symbol times step, in float32."""
    return q_OI.float() * step_O.float()[:, None]
