"""Bytes of the artifact before anything is trained (recipes D.3, with exact entropies for the approximation).

A row of weights has, by the choice of its step, a standard deviation of ``largest / clip_sigmas`` symbols,
whatever it was trained to be. So the entropy of its symbols is known beforehand, as far as weights are Gaussian.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from statistics import NormalDist

import torch

from fairway.model.banks import unbank
from fairway.model.members import with_raw
from fairway.model.parameters import neutral_parameters
from fairway.quant.artifact import Artifact, StoredStream, write_artifact
from fairway.quant.gates import GATE_BITS, GATE_END
from fairway.quant.grid import largest_symbol
from fairway.quant.packing import STEPS_STREAM, StoredTensor, raw_sizes
from fairway.quant.plan import Treatment, plan
from fairway.quant.trellis_gain import trellis_bits_less
from fairway.quant.triangle import triangle_names
from fairway.spec.quant import Grid, Lagrangian, Lqer, QuantileGrid, RoundedGates, TrellisGrid, Triangles
from fairway.spec.recipe import Recipe
from fairway.spec.roles import Role

# Of two bytes a half: mantissas are noise, exponents of one role nearly constant. Briefly trained models take less
# (1.16 and 1.33 on a pocket run of 55 steps), Gaussian ones more.
_FORECAST_STEP_BYTES = 1.3
_FORECAST_KEPT_BYTES = 1.5
# of the entries of a Gaussian factor on LQER's grids of two and of four bits, and of a gate's row of twelve or more
_FORECAST_FACTOR_BITS = {3: 0.9, 5: 3.2, GATE_BITS: 7.5}
_FORECAST_TABLE_BYTES = 70
"""Frequencies of one stream of symbols."""
_FORECAST_FINEST_BITS = 3.0
"""More than by hand, of steps by ``rates`` that are as fine as they may be."""
_FORECAST_CONTAINER_BYTES = 1_000
# a digest that deflates as badly as a real one
_FORECAST_EXTRA = {"recipe_sha256": "365c1d79011db9cbf8f8462c1b92a044a60ed907763519054fea6916dddc0357", "seed": 1337}


@dataclass(frozen=True, slots=True)
class SizeForecast:
    """What the artifact will weigh; parts sum to ``total_bytes``."""

    by_role: Mapping[str, int]
    """Symbols or halves of each role, with the frequencies that a stream carries."""
    steps_bytes: int
    container_bytes: int
    """Prefix, header and digest."""

    @property
    def total_bytes(self) -> int:
        """The whole artifact."""
        return sum(self.by_role.values()) + self.steps_bytes + self.container_bytes


def expected_clip_sigmas(grid: Grid | QuantileGrid | TrellisGrid, inputs: int) -> float:
    """Standard deviations at which a Gaussian row of so many weights is clipped, if no floor has its way.

    The quantile of a row is at most its largest weight, for which the n/(n+1) quantile of the distribution stands.
    """
    if not isinstance(grid, QuantileGrid):
        return grid.clip_sigmas
    quantile = min(max(grid.quantiles), inputs / (inputs + 1))
    return NormalDist().inv_cdf((1 + quantile) / 2)


def symbol_bits(grid: Grid | QuantileGrid | TrellisGrid, inputs: int = 512) -> float:
    """Entropy in bits of one symbol of a Gaussian row, clamping included: exact; that of a trellis to 0.001.

    A trellis's state says whether a symbol is even, so one takes about what it takes on the grid of even ones.
    """
    largest = largest_symbol(grid.bits)
    sigma = largest / expected_clip_sigmas(grid, inputs)
    if isinstance(grid, TrellisGrid):
        largest, sigma = largest // 2, sigma / 2

    def below(edge: float) -> float:
        return 0.5 * (1.0 + math.erf(edge / sigma / math.sqrt(2.0)))

    edges = [0.0, *(below(symbol + 0.5) for symbol in range(-largest, largest)), 1.0]
    masses = [high - low for low, high in zip(edges, edges[1:], strict=False)]
    bits = -sum(mass * math.log2(mass) for mass in masses if mass > 0)
    return bits - trellis_bits_less(grid.states, 1 / sigma) if isinstance(grid, TrellisGrid) else bits


def planned(recipe: Recipe) -> list[Treatment]:
    """Treatments of the tensors that this recipe's runs will store, but for factors of corrections and gates."""
    return _forecast_plan(recipe)[0]


def _forecast_plan(recipe: Recipe) -> tuple[list[Treatment], list[StoredTensor]]:
    with torch.device("meta"):
        state = unbank(neutral_parameters(recipe.model), recipe.model)
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    if isinstance(recipe.quant.triangles, Triangles) and not recipe.quant.triangles.whole:
        shapes |= {
            name: (1, shapes[name][0] * (shapes[name][0] + 1) // 2) for name in triangle_names(recipe.quant.triangles)
        }
    if recipe.score.logit_ensemble:
        shapes = with_raw(shapes, shapes)
    factors: list[StoredTensor] = []
    if isinstance(recipe.quant.gates, RoundedGates):
        layers, heads, inputs = shapes.pop("head_gate")
        factors += [
            StoredTensor(f"head_gate.{i}{GATE_END}", (heads, inputs), Role.CORRECTION, GATE_BITS) for i in range(layers)
        ]
    return plan(shapes, recipe.quant), factors


def forecast(recipe: Recipe) -> SizeForecast:
    """Size of the artifact that this recipe's runs will write, from its sizes and grids alone."""
    treatments, factors = _forecast_plan(recipe)
    by_role: dict[str, float] = {}
    rows = 0
    for treatment in treatments:
        role, count = str(treatment.role.value), prod(treatment.shape)
        if treatment.grid is None:
            by_role[Role.CONTROL.value] = by_role.get(Role.CONTROL.value, 0.0) + count * _FORECAST_KEPT_BYTES
        else:
            rows += treatment.shape[0]
            by_role[role] = (
                by_role.get(role, _FORECAST_TABLE_BYTES) + count * symbol_bits(treatment.grid, treatment.shape[1]) / 8
            )
    tensors = tuple(StoredTensor(t.name, t.shape, t.role, t.bits) for t in treatments)
    if isinstance(recipe.quant.correction, Lqer):
        factors = [*_forecast_factors(treatments, recipe.quant.correction), *factors]
    if factors:
        tensors += tuple(factors)
        rows += sum(tensor.shape[0] for tensor in factors)
        by_role[Role.CORRECTION.value] = sum(
            tensor.count * _FORECAST_FACTOR_BITS[tensor.bits] / 8 for tensor in factors
        )
    steps = rows * _FORECAST_STEP_BYTES
    if isinstance(recipe.quant.rates, Lagrangian):
        _forecast_fill(by_role, treatments, recipe.quant.rates, steps)
    parts = {role: round(size) for role, size in by_role.items()}
    sizes = {**parts, STEPS_STREAM: round(steps)}
    # the real writer, over empty payloads of the right length: header and digest are what they will be
    streams = tuple(StoredStream(name, "range", bytes(sizes[name]), raw) for name, raw in raw_sizes(tensors).items())
    data = write_artifact(Artifact(tensors, streams, recipe.quant.rotation, _FORECAST_EXTRA))
    return SizeForecast(by_role=parts, steps_bytes=sizes[STEPS_STREAM], container_bytes=len(data) - sum(sizes.values()))


def _forecast_fill(by_role: dict[str, float], treatments: Sequence[Treatment], rates: Lagrangian, steps: float) -> None:
    """As many bits a weight more or fewer, the same for all, as fill the file; at most what the finest steps have."""
    counts: dict[str, int] = {}
    for treatment in treatments:
        if treatment.grid is not None:
            counts[treatment.role.value] = counts.get(treatment.role.value, 0) + prod(treatment.shape)
    rest = rates.target_bytes - rates.tolerance_bytes / 2 - _FORECAST_CONTAINER_BYTES - steps - sum(by_role.values())
    more = min(rest / sum(counts.values()), _FORECAST_FINEST_BITS / 8)
    for role, count in counts.items():
        by_role[role] = max(by_role[role] + more * count, _FORECAST_TABLE_BYTES)


def _forecast_factors(treatments: Sequence[Treatment], lqer: Lqer) -> list[StoredTensor]:
    """Those of the largest matrices: which are hurt most is known after rounding."""
    largest = sorted((t for t in treatments if t.grid is not None), key=lambda t: -prod(t.shape))[: lqer.top]
    found = []
    for treatment in largest:
        outputs, inputs = treatment.shape
        left, right = (1, outputs * lqer.rank), (max(1, lqer.rank * inputs // 64), 64)
        found += [
            StoredTensor(f"{treatment.name}.{end}", shape, Role.CORRECTION, bits)
            for end, shape, bits in (("left", left, 3), ("right", right, 5))
        ]
    return found
