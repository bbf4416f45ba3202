"""Condition numbers, effective ranks and energies of every matrix and of attention's products (PR #215).

PR #215 factored Q because its product "has a condition number above 10^8 and 100 of 192 effective ranks". A condition
number tells the smallest singular value, which is noise for any square matrix, and is infinite for a product of factors
narrower than itself. Hence two effective ranks, by entropy and by energy, and the same of a Gaussian matrix.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fairway.records.style import MUTED, ROLE_COLOURS
from fairway.spec.roles import role_of
from fairway.studies.alignment import product_values
from fairway.studies.chance import gaussian, mean, source
from fairway.studies.checkpoint import Checkpoint
from fairway.studies.inputs import Inputs
from fairway.studies.result import Cell, Result, Table

_DRAWS, _QUICK_DRAWS = 6, 2
_KEPT_SHARES = (0.25, 0.5, 0.75)
_ENERGY = 0.99
_CLAIMED_LAYERS = 11
_ORDER = ("q", "q_in", "q_out", "k", "v", "o", "up", "down")


class _Chance:
    """Singular values of Gaussian matrices, drawn once for each shape."""

    def __init__(self, draws: int) -> None:
        self._draws, self._source = draws, source("spectra")
        self._found: dict[tuple[int, int], list[Tensor]] = {}

    def __call__(self, shape: tuple[int, int]) -> list[Tensor]:
        if shape not in self._found:
            self._found[shape] = [_values(gaussian(*shape, self._source)) for _ in range(self._draws)]
        return self._found[shape]


@dataclass(frozen=True, slots=True)
class _Place:
    """One matrix of the model, in every checkpoint."""

    layer: int
    part: str
    shape: tuple[int, int]
    values: list[Tensor]


def study(inputs: Inputs) -> Result:
    """Tables ``matrices`` (means over checkpoints), ``energy``, ``products`` of a head's factors, and ``claims``."""
    draws = _QUICK_DRAWS if inputs.quick else _DRAWS
    chance, places = _Chance(draws), _places(inputs.checkpoints)
    products = _product_table(inputs, draws)
    tables = {"matrices": _matrix_table(places, chance), "energy": _energy_table(places, chance)}
    if products.rows:
        tables["products"] = products
    if not inputs.quick:
        tables["claims"] = _claim_table()
    numbers = _numbers(tables)
    return Result(
        study="spectra",
        title="Singular values against those of noise",
        tables=tables,
        draw=lambda figure: _draw(figure, places, chance),
        paragraph=_paragraph(numbers),
        null=(
            "a Gaussian matrix of the same shape, whose singular values follow Marchenko and Pastur: s/sqrt(n) between"
            " 1 - sqrt(m/n) and 1 + sqrt(m/n) for m x n entries of variance 1; of products, those of Gaussian factors."
        ),
        numbers=numbers,
        inches=(9.0, 5.2),
    )


def _places(checkpoints: Sequence[Checkpoint]) -> list[_Place]:
    found: dict[tuple[str, int], _Place] = {}
    for checkpoint in checkpoints:
        for layer in range(checkpoint.layers):
            for part in _parts(checkpoint, layer):
                w_OI = checkpoint.matrix(layer, part)
                place = found.setdefault((part, layer), _Place(layer, part, (w_OI.shape[0], w_OI.shape[1]), []))
                place.values.append(_values(w_OI))
    return [found[key] for key in sorted(found, key=lambda key: (_ORDER.index(key[0]), key[1]))]


def _parts(checkpoint: Checkpoint, layer: int) -> list[str]:
    """The matrices of a layer; of a factored Q the product, too."""
    parts = [part for part in checkpoint.parts if checkpoint.has(layer, part)]
    return [*parts, "q"] if "q_in" in parts and "q" not in parts else parts


def _values(w_OI: Tensor) -> Tensor:
    return torch.linalg.svdvals(w_OI.double())


def condition(values_K: Tensor) -> float:
    """Largest over smallest singular value; infinite where the smallest is lost in float32's rounding."""
    floor = float(values_K[0]) * torch.finfo(torch.float32).eps
    return float(values_K[0] / values_K[-1]) if float(values_K[-1]) > floor else math.inf


def entropy_rank(values_K: Tensor) -> float:
    """The exponential of the entropy of the singular values as a distribution (Roy and Vetterli 2007)."""
    p = values_K / values_K.sum()
    return float(torch.special.entr(p).sum().exp())


def participation(values_K: Tensor) -> float:
    """The energy's own count: (sum of s^2)^2 / sum of s^4, the rank of a matrix of equal values."""
    energy = values_K.square()
    return float(energy.sum().square() / energy.square().sum())


def energy_rank(values_K: Tensor, share: float = _ENERGY) -> int:
    """How many singular values hold that share of the squares."""
    kept = values_K.square().cumsum(0) / values_K.square().sum()
    return int((kept < share).sum()) + 1


def energy_at(values_K: Tensor, rank: int) -> float:
    """The share of the squares that the first singular values hold."""
    return float(values_K[:rank].square().sum() / values_K.square().sum())


def marchenko_pastur_condition(rows: int, columns: int) -> float:
    """Condition number of a large Gaussian matrix: the edges of the law; infinite for a square one."""
    short, long = sorted((rows, columns))
    if short == long:
        return math.inf
    ratio = math.sqrt(short / long)
    return (1 + ratio) / (1 - ratio)


def _matrix_table(places: Sequence[_Place], chance: _Chance) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for place in places:
        mine, noise = place.values, chance(place.shape)
        rows.append(
            (
                *(place.layer, place.part, _times(place.shape), len(mine)),
                *(_typical([condition(s) for s in mine]), _typical([condition(s) for s in noise])),
                marchenko_pastur_condition(*place.shape),
                *(mean(map(entropy_rank, mine)), mean(map(entropy_rank, noise))),
                *(mean(map(participation, mine)), mean(map(participation, noise))),
                *(mean(map(energy_rank, mine)), mean(map(energy_rank, noise))),
                *(mean(map(_peak, mine)), mean(map(_peak, noise))),
            )
        )
    columns = (
        *("layer", "part", "shape", "checkpoints", "condition", "condition_gaussian", "condition_marchenko_pastur"),
        *("entropy_rank", "entropy_rank_gaussian", "energy_count", "energy_count_gaussian"),
        *("rank_of_99_percent", "rank_of_99_percent_gaussian", "largest_over_rms", "largest_over_rms_gaussian"),
    )
    return Table(columns=columns, rows=tuple(rows))


def _peak(values_K: Tensor) -> float:
    return float(values_K[0] / values_K.square().mean().sqrt())


def _times(shape: tuple[int, int]) -> str:
    return f"{shape[0]}x{shape[1]}"


def _typical(values: Sequence[float]) -> float:
    """The geometric mean: condition numbers differ by powers of ten."""
    return math.exp(mean(math.log(value) for value in values)) if all(map(math.isfinite, values)) else math.inf


def _energy_table(places: Sequence[_Place], chance: _Chance) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for part in dict.fromkeys(place.part for place in places):
        mine = [s for place in places if place.part == part for s in place.values]
        shape = next(place.shape for place in places if place.part == part)
        for share in _KEPT_SHARES:
            rank = max(1, round(share * min(shape)))
            found = [energy_at(s, rank) for s in mine]
            noise = mean(energy_at(s, rank) for s in chance(shape))
            rows.append((part, _times(shape), rank, mean(found), min(found), noise))
    columns = ("part", "shape", "rank", "energy_share", "energy_share_least", "energy_share_gaussian")
    return Table(columns=columns, rows=tuple(rows))


def _claim_table() -> Table:
    """What PR #215 reports of its 11 layers, beside as many Gaussian matrices of the shapes that it has."""
    draw = source("spectra claims")

    def square(rows: int, columns: int) -> Tensor:
        return _values(gaussian(rows, columns, draw))

    def factored(rows: int, rank: int) -> Tensor:
        return product_values(gaussian(rows, rank, draw), gaussian(rows, rank, draw))

    measures: list[tuple[str, str, float, float, Callable[[], float]]] = [
        ("condition of K", "256x512", 19, 29, lambda: condition(square(256, 512))),
        ("condition of V", "256x512", 5, 8, lambda: condition(square(256, 512))),
        ("condition of O", "512x512", 531, 2620, lambda: condition(square(512, 512))),
        ("effective rank of Q by entropy", "512x192x512", 89, 114, lambda: entropy_rank(factored(512, 192))),
        ("effective rank of Q by energy count", "512x192x512", 89, 114, lambda: participation(factored(512, 192))),
    ]
    rows = []
    for what, shape, low, high, once in measures:
        noise = [once() for _ in range(_CLAIMED_LAYERS)]
        rows.append((what, shape, low, high, min(noise), max(noise)))
    columns = ("measure", "shape", "claimed_least", "claimed_most", "gaussian_least", "gaussian_most")
    return Table(columns=columns, rows=tuple(rows))


def _product_table(inputs: Inputs, draws: int) -> Table:
    """Each query head's Q^T K, by which attention scores, and O V, which it writes; their rank is at most a head's."""
    draw = source("spectra products")
    recipe = inputs.recipe
    rows: list[tuple[Cell, ...]] = []
    if recipe is None:
        return Table(columns=_PRODUCT_COLUMNS, rows=())
    heads, groups = recipe.model.heads, recipe.model.kv_heads
    width = recipe.model.width // heads
    layers = inputs.checkpoints[0].layers

    def products(q: Tensor, k: Tensor, v: Tensor, o: Tensor) -> dict[str, list[Tensor]]:
        found: dict[str, list[Tensor]] = {"qk": [], "ov": []}
        for head in range(heads):
            group = head * groups // heads
            mine, shared = slice(head * width, (head + 1) * width), slice(group * width, (group + 1) * width)
            found["qk"].append(product_values(q[mine].T, k[shared].T))
            found["ov"].append(product_values(o[:, mine], v[shared].T))
        return found

    noise: dict[str, list[Tensor]] = {"qk": [], "ov": []}
    q_shape, k_shape = ((recipe.model.width, recipe.model.width), (groups * width, recipe.model.width))
    for _ in range(draws):
        for name, found in products(
            *(gaussian(*shape, draw) for shape in (q_shape, k_shape, k_shape, q_shape))
        ).items():
            noise[name] += found
    for name in noise:
        for layer in range(layers):
            mine = [
                s
                for checkpoint in inputs.checkpoints
                for s in products(*(checkpoint.matrix(layer, part) for part in ("q", "k", "v", "o")))[name]
            ]
            rows.append(
                (
                    *(layer, name, len(mine), width, _typical([condition(s) for s in mine])),
                    _typical([condition(s) for s in noise[name]]),
                    *(mean(map(entropy_rank, mine)), mean(map(entropy_rank, noise[name]))),
                    *(mean(map(participation, mine)), mean(map(participation, noise[name]))),
                    *(mean(energy_at(s, 1) for s in mine), mean(energy_at(s, 1) for s in noise[name])),
                )
            )
    return Table(columns=_PRODUCT_COLUMNS, rows=tuple(rows))


_PRODUCT_COLUMNS = (
    *("layer", "product", "heads", "rank_at_most", "condition_within_rank", "condition_gaussian"),
    *("entropy_rank", "entropy_rank_gaussian", "energy_count", "energy_count_gaussian"),
    *("first_direction_share", "first_direction_share_gaussian"),
)


def _numbers(tables: dict[str, Table]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    table = tables["matrices"]
    for part in dict.fromkeys(table.column("part")):
        for name in (
            *("condition", "condition_gaussian", "entropy_rank", "entropy_rank_gaussian"),
            *("energy_count", "energy_count_gaussian", "rank_of_99_percent", "rank_of_99_percent_gaussian"),
        ):
            values = [
                float(cell)
                for cell, other in zip(table.column(name), table.column("part"), strict=True)
                if other == part
            ]
            numbers[f"{part}.{name}"] = _typical(values) if name.startswith("condition") else mean(values)
            if name == "condition":
                numbers[f"{part}.condition_least"], numbers[f"{part}.condition_most"] = min(values), max(values)
    # Tables of claims are left out of a quick study.
    for measure, _, _, _, least, most in tables["claims"].rows if "claims" in tables else ():
        numbers[f"claims.{measure}.gaussian_least"] = float(least)
        numbers[f"claims.{measure}.gaussian_most"] = float(most)
    if "products" in tables:
        table = tables["products"]
        for product in dict.fromkeys(table.column("product")):
            for name in ("entropy_rank", "entropy_rank_gaussian", "energy_count", "energy_count_gaussian"):
                pairs = zip(table.column(name), table.column("product"), strict=True)
                numbers[f"{product}.{name}"] = mean(float(cell) for cell, other in pairs if other == product)
    return numbers


def _paragraph(numbers: dict[str, float]) -> str:
    parts = [key.partition(".")[0] for key in numbers if key.endswith(".condition")]
    conditions = ", ".join(
        f"{part} {numbers[f'{part}.condition']:.3g} (noise {numbers[f'{part}.condition_gaussian']:.3g})"
        for part in parts
    )
    lowest = min(parts, key=lambda part: numbers[f"{part}.energy_count"] / numbers[f"{part}.energy_count_gaussian"])
    words = [
        f"Condition numbers, as geometric means over layers and seeds: {conditions}.",
        f"Farthest below noise in rank is {lowest}: {numbers[f'{lowest}.entropy_rank']:.1f} by entropy where noise has"
        f" {numbers[f'{lowest}.entropy_rank_gaussian']:.1f}, {numbers[f'{lowest}.energy_count']:.1f} by energy where"
        f" noise has {numbers[f'{lowest}.energy_count_gaussian']:.1f}.",
    ]
    for product, told in (("qk", "The products Q^T K of a head"), ("ov", "the products O V")):
        if f"{product}.energy_count" in numbers:
            words.append(
                f"{told} spread over {numbers[f'{product}.energy_count']:.1f} directions by energy, Gaussian factors"
                f" over {numbers[f'{product}.energy_count_gaussian']:.1f}" + (";" if product == "qk" else ".")
            )
    return " ".join(words)


def _draw(figure: Figure, places: Sequence[_Place], chance: _Chance) -> None:
    parts = list(dict.fromkeys(place.part for place in places))
    columns = min(3, len(parts))
    grid = figure.subplots(math.ceil(len(parts) / columns), columns, squeeze=False).ravel()
    for axes in grid[len(parts) :]:
        axes.set_visible(False)
    for axes, part in zip(grid, parts, strict=False):
        mine = [place for place in places if place.part == part]
        colour = ROLE_COLOURS[role_of(f"blocks.0.{part}").value]
        for place in mine:
            for s in place.values:
                _curve(axes, s, "-", color=colour, lw=0.7, alpha=0.6)
        _curve(axes, chance(mine[0].shape)[0], "--", color=MUTED, lw=1.4)
        axes.set_title(f"{part} ({mine[0].shape[0]} x {mine[0].shape[1]})")
        axes.set_ylim(bottom=0)
    figure.supxlabel("place of the singular value, as a share of the rank", fontsize=9)
    figure.supylabel("singular value over its root mean square", fontsize=9)
    marks = [
        grid[0].plot([], [], color=MUTED, lw=1, label="a matrix of one layer and checkpoint")[0],
        grid[0].plot([], [], "--", color=MUTED, lw=1.4, label="Gaussian")[0],
    ]
    figure.legend(handles=marks, loc="outside lower right", ncols=2)


def _curve(axes: Axes, values_K: Tensor, line: str, **look: Any) -> None:
    places = torch.arange(1, len(values_K) + 1) / len(values_K)
    axes.plot(places, values_K / values_K.square().mean().sqrt(), line, **look)
