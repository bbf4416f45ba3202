"""A matrix to its grid, with the share of its output's energy that is lost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Float16, Int8
from torch import Tensor

from fairway.errors import GateError
from fairway.quant.gptq import gptq, relative_error
from fairway.quant.grid import decode, row_steps
from fairway.quant.plan import Treatment
from fairway.quant.trellis_columns import nearest_symbols
from fairway.spec.quant import Gptq, Grid, QuantileGrid, QuantSpec, TrellisGrid

_ROUNDING_NO_ERROR = 1e-12


@dataclass(frozen=True, slots=True)
class Rounded:
    """One matrix on its grid, and the shares of its output's energy that two ways of rounding lose."""

    symbols: Int8[Tensor, "O I"]
    steps: Float16[Tensor, " O"]
    error_nearest: float
    """Of ``nearest_symbols``."""
    error_gptq: float | None
    """None where the recipe rounds to nearest."""

    @property
    def gptq_over_nearest(self) -> float:
        """At most 1 where GPTQ does its work."""
        if self.error_gptq is None:
            return 1.0
        return (self.error_gptq + _ROUNDING_NO_ERROR) / (self.error_nearest + _ROUNDING_NO_ERROR)


Both = tuple[Rounded, Rounded]
"""A matrix rounded in the basis that it was trained in, for comparison, and in that of the artifact."""

Rounder = Callable[
    [Sequence[Treatment], Mapping[str, Tensor], Mapping[str, Tensor], Mapping[str, Tensor], QuantSpec], dict[str, Both]
]
"""From treatments, weights, Hessians and rotations to every matrix that has a grid."""


def round_matrix(
    name: str,
    w_OI: Float[Tensor, "O I"],
    h_II: Float[Tensor, "I I"],
    grid: Grid | QuantileGrid | TrellisGrid,
    quant: QuantSpec,
) -> Rounded:
    """A matrix on its grid by the recipe's rounding; ``name`` is for error messages."""
    step_O = sound_steps(name, w_OI, grid)
    nearest = nearest_symbols(w_OI, step_O, grid, quant.rounding)
    error_nearest = relative_error(w_OI, decode(nearest, step_O), h_II)
    if not isinstance(quant.rounding, Gptq):
        return Rounded(nearest, step_O, error_nearest, None)
    try:
        symbols = gptq(w_OI, h_II, step_O, grid, quant.rounding)
    except GateError as error:
        raise GateError(f"tensor {name}: {error}") from error
    return Rounded(symbols, step_O, error_nearest, relative_error(w_OI, decode(symbols, step_O), h_II))


def sound_steps(
    name: str, w_OI: Float[Tensor, "O I"], grid: Grid | QuantileGrid | TrellisGrid
) -> Float16[Tensor, " O"]:
    """The steps of a matrix's rows; ``GateError`` if one is not finite."""
    step_O = row_steps(w_OI, grid)
    if not bool(step_O.isfinite().all()):
        raise GateError(f"tensor {name} has a row whose step is beyond half precision (65504)")
    return step_O
