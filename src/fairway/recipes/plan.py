"""What a cap buys: for a recipe's model at other widths and depths, how coarse its steps must be, and what that costs.

All steps of the recipe are scaled by one factor until the forecast artifact fills the cap less the program. Bytes are
those of Gaussian rows (``quant.forecast``), the tax is that of ``recipes.tax``. What a wider or deeper model gains in
the float score is not forecast: a plan says what rounding leaves of it. Nor is what a correction (LQER) takes off the
tax, nor what rates of kind lagrangian do: steps then keep the proportions that the recipe's grids have.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

from fairway.errors import RecipeError
from fairway.model.parameters import parameter_count
from fairway.quant.forecast import expected_clip_sigmas, forecast, planned, symbol_bits
from fairway.quant.grid import largest_symbol
from fairway.quant.plan import Treatment
from fairway.recipes.tax import Calibration, nearest_calibration, step_sigmas, tax_bpb
from fairway.spec.model import ModelSpec, TwoLanes
from fairway.spec.quant import Grid, HandSet, Lagrangian, QuantileGrid, QuantSpec, TrellisGrid
from fairway.spec.recipe import Recipe

SCALAR = 0
"""States of scalar rounding, in the place of a trellis's."""

REAL_BYTES = (0.974, 0.997)
"""Artifact bytes over forecast ones, the least and the most of 15 roundings of pocket's three checkpoints.

Steps of 0.5 to 2 times the recipe's, scalar and trellis: trained weights are peaked, so fine steps take less than
Gaussian rows would. Steps of 3 and 4 times the recipe's, below 2 bits a weight, took 1.1% and 4.7% more.
"""

_LEAST_CLIP = 8.0
"""Sigmas that a grid must reach: where the step asked for does not, the grid gets another bit."""
_CLIPPED = 5.0
"""Sigmas that it must reach at the most bits there are, by wider steps: the tax does not know of weights clipped."""
_MOST_BITS = 8
_FACTORS = (0.05, 8.0)
_HALVINGS = 18
_ROUNDED_BYTES = 16
"""A forecast rounds each role's bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model by one kind of rounding."""

    layers: int
    width: int
    parameters: int
    states: int
    """Of the trellis; ``SCALAR`` is 0."""
    budget_bytes: int
    """What the cap leaves for the artifact."""
    own_bytes: int
    """Of the artifact at the recipe's own steps."""
    factor: float
    """Of the recipe's steps, for the artifact to fill the budget."""
    artifact_bytes: int
    bits: float
    """Of a rounded weight."""
    tax_bpb: float
    tax_by_group: dict[str, float]
    quant: QuantSpec
    """What the recipe would say."""
    calibration: str
    extrapolated: tuple[str, ...]
    """Why nothing vouches for the tax; empty where runs do."""


def plan_rows(
    recipe: Recipe, budgets: dict[int, int], layers: Sequence[int], widths: Sequence[int]
) -> tuple[list[Row], Calibration]:
    """Every depth at every width by every kind of rounding; ``budgets`` are bytes of the artifact by states.

    ``RecipeError`` for a model that cannot have that width or depth, and for grids whose steps are no choice.
    """
    known = nearest_calibration(recipe.model)
    rows = []
    for depth in layers:
        for width in widths:
            model = resized(recipe.model, depth, width)
            rows += [_row(replace(recipe, model=model), states, budget, known) for states, budget in budgets.items()]
    return rows, known


def resized(model: ModelSpec, layers: int, width: int) -> ModelSpec:
    """The model with other sizes: heads keep their width, the MLP its ratio, two lanes begin as far from the end."""
    if (layers, width) == (model.layers, model.width):
        return model
    if width < 1 or width % model.head_width:
        raise RecipeError(f"width must be a multiple of {model.head_width}, the channels of a head, got {width}")
    heads = width // model.head_width
    scaled = {"kv_heads": model.kv_heads * heads / model.heads, "mlp_width": model.mlp_width * width / model.width}
    for name, value in scaled.items():
        if value != int(value):
            raise RecipeError(f"width {width} would have {name} {value:g}, which must be whole; take another width")
    lanes = model.lanes
    if isinstance(lanes, TwoLanes):
        lanes = replace(lanes, start=max(1, layers - (model.layers - lanes.start)))
    try:
        return replace(
            model,
            layers=layers,
            width=width,
            heads=heads,
            kv_heads=int(scaled["kv_heads"]),
            mlp_width=int(scaled["mlp_width"]),
            xsa_last=layers if model.xsa_last == model.layers else min(model.xsa_last, layers),
            lanes=lanes,
        )
    except ValueError as error:
        raise RecipeError(f"{layers} layers of width {width}: {error}") from error


def scaled_grid(grid: Grid | QuantileGrid | TrellisGrid, factor: float, states: int) -> Grid | TrellisGrid:
    """A grid whose scalar step is ``factor`` times that of ``grid``, with bits enough to reach as far as rows do.

    Where the most bits are too few for that, its step is the finest that they allow.
    """
    if isinstance(grid, QuantileGrid):
        raise RecipeError("plan needs grids of kind sigmas or trellis: steps of kind quantiles are the rows' own")
    scalar_bits = grid.bits - 1 if isinstance(grid, TrellisGrid) else grid.bits
    most = _MOST_BITS - 1 if states else _MOST_BITS
    step = max(factor * step_sigmas(grid, 0), min(_CLIPPED, grid.clip_sigmas) / largest_symbol(most))
    bits = min(scalar_bits, most)
    while bits < most and step * largest_symbol(bits) < _LEAST_CLIP:
        bits += 1
    if not states:
        return Grid(bits=bits, clip_sigmas=step * largest_symbol(bits), scale_floor=grid.scale_floor)
    segment = grid.segment if isinstance(grid, TrellisGrid) else TrellisGrid(bits=8, clip_sigmas=1.0).segment
    return TrellisGrid(
        bits=bits + 1,
        clip_sigmas=step * largest_symbol(bits + 1) / 2,
        scale_floor=grid.scale_floor,
        states=states,
        segment=segment,
    )


def scaled_quant(quant: QuantSpec, factor: float, states: int) -> QuantSpec:
    """All three grids of a recipe by one factor; ``RecipeError`` if the rest of it goes with no such grids."""
    attention, mlp, embedding = (
        scaled_grid(grid, factor, states) for grid in (quant.attention, quant.mlp, quant.embedding)
    )
    try:
        return replace(quant, attention=attention, mlp=mlp, embedding=embedding)
    except ValueError as error:
        raise RecipeError(f"a trellis of {states} states: {error}") from error


def _row(recipe: Recipe, states: int, budget: int, known: Calibration) -> Row:
    # else any steps would fill the file that the rates are for
    by_hand = replace(recipe.quant, rates=HandSet())

    def at(factor: float) -> Recipe:
        return replace(recipe, quant=scaled_quant(by_hand, factor, states))

    rounded = [t for t in planned(recipe) if t.grid is not None]
    own = forecast(at(1.0)).total_bytes
    beside = own - _symbol_bytes(rounded, 1.0, states)
    low, high = _FACTORS
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        if _symbol_bytes(rounded, middle, states) + beside > budget - _ROUNDED_BYTES:
            low = middle
        else:
            high = middle
    chosen = at(high)
    total = forecast(chosen).total_bytes
    if total > budget:
        raise RecipeError(
            f"{recipe.model.layers} layers of width {recipe.model.width} need more than the {budget:,} bytes that the"
            f" cap leaves: {total:,} at {_FACTORS[1]:g} times the recipe's steps"
        )
    taxes = tax_bpb(planned(chosen), known)
    return Row(
        layers=recipe.model.layers,
        width=recipe.model.width,
        parameters=parameter_count(recipe.model),
        states=states,
        budget_bytes=budget,
        own_bytes=own,
        factor=high,
        artifact_bytes=total,
        bits=8 * _symbol_bytes(rounded, high, states) / sum(prod(t.shape) for t in rounded),
        tax_bpb=sum(taxes.values()),
        tax_by_group=taxes,
        quant=chosen.quant,
        calibration=known.name,
        extrapolated=_extrapolated(chosen, known, has_rates=isinstance(recipe.quant.rates, Lagrangian)),
    )


def _symbol_bytes(rounded: Sequence[Treatment], factor: float, states: int) -> float:
    """Bytes of symbols alone."""
    total = 0.0
    for treatment in rounded:
        assert treatment.grid is not None
        total += prod(treatment.shape) * _bits(treatment.grid, factor, states, treatment.shape[1])
    return total / 8


@lru_cache(maxsize=1024)
def _bits(grid: Grid | QuantileGrid | TrellisGrid, factor: float, states: int, inputs: int) -> float:
    return symbol_bits(scaled_grid(grid, factor, states), inputs)


def _extrapolated(recipe: Recipe, known: Calibration, *, has_rates: bool) -> tuple[str, ...]:
    model, quant = recipe.model, recipe.quant
    found = []
    if (model.layers, model.width) != (known.layers, known.width):
        found.append(f"{model.layers} x {model.width}, measured {known.layers} x {known.width}")
    grids = [treatment.grid for treatment in planned(recipe) if treatment.grid is not None]
    reach = min(expected_clip_sigmas(grid, model.width) for grid in grids)
    if reach < 1.01 * _CLIPPED:
        found.append(f"finer steps would clip at less than {reach:.1f} sigmas")
    coarsest = max(step_sigmas(grid, model.width) for grid in grids)
    if coarsest > 1.02 * known.largest_step:
        found.append(f"step {coarsest:.2f} sigmas, measured to {known.largest_step:g}")
    if known.name == "published" and any(isinstance(g, TrellisGrid) for g in (quant.attention, quant.mlp)):
        found.append("no trellis was scored at this size")
    if has_rates:
        found.append("steps by the recipe's grids, not by its rates")
    return tuple(found)
