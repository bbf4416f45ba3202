"""Quantization tax before anything is trained: bits per byte that rounding costs, by step and kind of grid.

The loss is near a minimum of every weight's noise, so the tax of a group of matrices is taken to be in proportion to
the noise's variance, and groups are taken to add up::

    tax = sum over groups of c * (step / sigma)^2 * e

where e is the trellis's share of scalar rounding's error (``quant.trellis_gain``), 1 for scalar rounding. The Hessian
cancels out: at fixed calibration GPTQ's relative error is in proportion to the same square. It is also the worse guide
where it was tried: over pocket's three seeds the relative error of the tied table varies by a factor of 1.6 and the
tax that it causes by 1.05, for the Hessian sees the table as a head and not as an embedding.

The coefficients are those of runs, ``POCKET`` and ``FULL``. What holds of other widths, depths, learning rates or text
is not known: elsewhere a tax is an extrapolation, and is called one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, prod
from typing import Literal

from fairway.model.parameters import parameter_count
from fairway.quant.forecast import expected_clip_sigmas
from fairway.quant.grid import largest_symbol
from fairway.quant.plan import Treatment
from fairway.quant.trellis_gain import trellis_error
from fairway.spec.model import ModelSpec
from fairway.spec.quant import Grid, QuantileGrid, TrellisGrid
from fairway.spec.roles import Role

Group = Literal["attention", "mlp", "embedding"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Coefficients of the tax, in bits per byte a squared step in sigmas, and where they hold."""

    name: str
    source: str
    attention: float
    mlp: float
    embedding: float
    off: float
    """By what share of itself a tax was off where it was checked, at most."""
    parameters: int
    layers: int
    width: int
    largest_step: float
    """In sigmas; beyond this nothing was measured."""


POCKET = Calibration(
    name="pocket",
    source=(
        "flat scores of pocket: each group of two seeds rounded alone, all of three seeds together, at 1 to 2 times the"
        " recipe's steps; scalar taxes were 3% below to 20% above what follows, those of 64 states 10% below to 15%"
        " above at the recipe's steps and 30% and 36% above at twice those"
    ),
    attention=0.0036,
    mlp=0.0043,
    embedding=0.134,
    off=0.36,
    parameters=871_000,
    layers=5,
    width=128,
    largest_step=0.84,
)
"""Nine tenths of pocket's tax is the tied table's: it is little trained and stands at both ends of a shallow model."""

FULL = Calibration(
    name="published",
    source=(
        "mean taxes in the logs of two submissions of 11 layers and 512 channels that differ in the table's step"
        " (recipes F, #1530 and #1695: 0.0116 and 0.0126); those of #1626 and, with LQER, #1855 are 5% above and 22%"
        " below what follows"
    ),
    attention=0.0323,
    mlp=0.0323,
    embedding=0.0208,
    off=0.30,
    parameters=35_940_000,
    layers=11,
    width=512,
    largest_step=0.42,
)
"""Attention and MLP cannot be told apart by these runs."""


def nearest_calibration(model: ModelSpec) -> Calibration:
    """The one of the likelier size, by the ratio of parameters."""
    count = parameter_count(model)
    return min((POCKET, FULL), key=lambda known: abs(log(count / known.parameters)))


def group_of(role: Role) -> Group:
    """Which of the recipe's three grids a rounded matrix has."""
    if role is Role.EMBEDDING:
        return "embedding"
    return "mlp" if role in (Role.MLP_UP, Role.MLP_DOWN) else "attention"


def step_sigmas(grid: Grid | QuantileGrid | TrellisGrid, inputs: int) -> float:
    """The step in standard deviations of a row; of a trellis that between even symbols."""
    step = expected_clip_sigmas(grid, inputs) / largest_symbol(grid.bits)
    return 2 * step if isinstance(grid, TrellisGrid) else step


def noise(treatment: Treatment) -> float:
    """Squared step in sigmas of a rounded matrix, times what a trellis leaves of its error."""
    assert treatment.grid is not None
    square = step_sigmas(treatment.grid, treatment.shape[1]) ** 2
    if not isinstance(treatment.grid, TrellisGrid):
        return square
    return square * trellis_error(treatment.grid.states, min(treatment.shape[0], treatment.grid.segment))


def tax_bpb(treatments: Sequence[Treatment], known: Calibration) -> dict[str, float]:
    """Bits per byte that rounding costs, by group; a group's noise is the mean over its weights."""
    sums: dict[Group, tuple[float, int]] = {}
    for treatment in treatments:
        if treatment.grid is not None:
            group, count = group_of(treatment.role), prod(treatment.shape)
            total, weights = sums.get(group, (0.0, 0))
            sums[group] = total + count * noise(treatment), weights + count
    factors = {"attention": known.attention, "mlp": known.mlp, "embedding": known.embedding}
    return {group: factors[group] * total / weights for group, (total, weights) in sums.items()}
