"""Magnitude pruning before six-bit rounding: fraction by codec, in bytes and in score (#212, #1048 finding 8).

#1048 reports that zeroing the smallest 3% of each matrix makes its artifact 728 KB larger, while 1% and 5% change
nothing. Pruning acts on symbols only where it turns one into zero that was not zero already: with a step of 1/31 the
smallest weights round to zero anyhow, and as long as the threshold is below half a step pruning changes not one byte,
whatever the codec. So the table gives the share of symbols that changed beside the bytes.

As in the record, each matrix (embedding included) loses its own smallest weights, then rows get the step of their
largest weight over 31, with the floor of 1/31 or without. Bytes are those of the symbols, all matrices in one stream.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from fairway.records.style import MUTED
from fairway.runtime.seeding import generator
from fairway.spec.quant import QuantileGrid
from fairway.studies.inputs import Inputs
from fairway.studies.result import Result, Table
from fairway.studies.scoring import flat_bpb, opening_text
from fairway.studies.weights import CODECS, FLOORED, FREE, gaussian_rows, laid, matrices, on_grid

FRACTIONS = (0.0, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3)
GRIDS: Mapping[str, QuantileGrid] = {"floor 1/31": FLOORED, "no floor": FREE}
SCORED = (0.0, 0.03, 0.1, 0.3)
SCORED_TOKENS, _QUICK_TOKENS = 8_000, 2_000
"""At least so many tokens of validation; whole documents."""
QUICK_CODECS = ("zlib", "zstd", "range")
"""For all checkpoints but the first, which has every codec and the null models."""
RISE = 0.001
"""Bytes that grow by more than this share of the unpruned from one fraction to the next count as a rise."""

REPORTED_STD = {"up": 0.2056, "down": 0.1186}
"""Standard deviations of the MLP's matrices in #1048's checkpoint (finding 4)."""

Which = Literal["smallest", "random", "gaussian"]
"""Trained weights without their smallest, without as many at random, Gaussian weights without their smallest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Bytes of one checkpoint's symbols at one fraction."""

    checkpoint: str
    which: Which
    grid: str
    fraction: float
    changed: float
    """Share of the symbols that are not what they are without pruning."""
    zeros: float
    sizes: Mapping[str, int]
    """By codec."""


def study(inputs: Inputs) -> Result:
    """Fractions by codecs by grids for each checkpoint, and the scores of the first where there is data."""
    cells: list[Cell] = []
    for place, checkpoint in enumerate(inputs.checkpoints[:1] if inputs.quick else inputs.checkpoints):
        inputs.progress(f"pruning: {checkpoint.name}")
        codecs = QUICK_CODECS if place or inputs.quick else tuple(CODECS)
        cells += grid_of_bytes(checkpoint.name, matrices(checkpoint), codecs, nulls=not place)
    return _told(cells, _scores(inputs))


def pruned(w_OI: Float[Tensor, "O I"], fraction: float, order_OI: Float[Tensor, "O I"]) -> Float[Tensor, "O I"]:
    """The weights without those ``fraction`` of them that come first in ``order_OI``."""
    count = int(fraction * w_OI.numel())
    kept_N = w_OI.flatten().clone()
    kept_N[order_OI.flatten().argsort(stable=True)[:count]] = 0.0
    return kept_N.view_as(w_OI)


def grid_of_bytes(
    checkpoint: str, named: Mapping[str, Tensor], codecs: Sequence[str], *, nulls: bool = True
) -> list[Cell]:
    """All cells of a checkpoint's matrices; equal bytes are packed once."""
    packed: dict[tuple[str, bytes], int] = {}
    cells = []
    kinds: tuple[Which, ...] = ("smallest", "random", "gaussian") if nulls else ("smallest",)
    for which in kinds:
        weights, orders = {}, {}
        for name, w_OI in named.items():
            dice = generator(0, f"pruning {which} {checkpoint} {name}")
            weights[name] = gaussian_rows(w_OI, dice) if which == "gaussian" else w_OI
            orders[name] = torch.rand(w_OI.shape, generator=dice) if which == "random" else weights[name].abs()
        for called, grid in GRIDS.items():
            whole: list[Tensor] = []
            for fraction in FRACTIONS:
                rounded = [on_grid(pruned(w, fraction, orders[name]), grid)[0] for name, w in weights.items()]
                whole = whole or rounded
                pairs = list(zip(rounded, whole, strict=True))
                count = sum(q.numel() for q in rounded)
                raw = laid(rounded)
                key = hashlib.sha256(raw).digest()
                # nulls are for the shape of the curve; the slow codecs show it no better than the quick
                for codec in codecs if which == "smallest" else ("zstd",):
                    packed.setdefault((codec, key), -1)
                    if packed[codec, key] < 0:
                        packed[codec, key] = CODECS[codec](raw)
                cells.append(
                    Cell(
                        checkpoint=checkpoint,
                        which=which,
                        grid=called,
                        fraction=fraction,
                        changed=sum(int((q != p).sum()) for q, p in pairs) / count,
                        zeros=sum(int((q == 0).sum()) for q in rounded) / count,
                        sizes={codec: packed[codec, key] for codec in codecs if (codec, key) in packed},
                    )
                )
    return cells


def zeros_of_gaussian(std: float, step: float) -> float:
    """Share of Gaussian weights that a uniform step rounds to zero."""
    return math.erf(step / 2 / std / math.sqrt(2))


def _scores(inputs: Inputs) -> list[tuple[float, float, float]]:
    """Fraction, and bits per byte with the floor, without the smallest and as many at random; none without data."""
    recipe = inputs.recipe
    if recipe is None or inputs.val is None or inputs.tokenizer is None:
        return []
    text = opening_text(inputs, recipe, _QUICK_TOKENS if inputs.quick else SCORED_TOKENS)
    checkpoint = inputs.checkpoints[0]
    named = matrices(checkpoint)
    found = []
    for fraction in SCORED[::3] if inputs.quick else SCORED:
        bpb = []
        for which in ("smallest", "random") if fraction else ("smallest",):
            inputs.progress(f"pruning: {checkpoint.name}, {fraction:.0%} {which}, score")
            state = dict(checkpoint.state)
            for name, w_OI in named.items():
                dice = generator(0, f"pruning {which} {checkpoint.name} {name}")
                order_OI = torch.rand(w_OI.shape, generator=dice) if which == "random" else w_OI.abs()
                q_OI, step_O = on_grid(pruned(w_OI, fraction, order_OI), FLOORED)
                state[name] = q_OI.float() * step_O[:, None]
            bpb.append(flat_bpb(recipe, state, text))
        found.append((fraction, bpb[0], bpb[-1]))
    return found


def rises(sizes: Sequence[int]) -> int:
    """How often bytes grow from one fraction to the next by more than ``RISE`` of the first."""
    return sum(after - before > RISE * sizes[0] for before, after in zip(sizes, sizes[1:], strict=False))


def _column(cells: list[Cell], checkpoint: str, which: str, grid: str, codec: str) -> list[int]:
    return [
        c.sizes[codec]
        for c in cells
        if (c.checkpoint, c.which, c.grid) == (checkpoint, which, grid) and codec in c.sizes
    ]


def _at(cells: list[Cell], which: str, grid: str, fraction: float) -> list[Cell]:
    return [c for c in cells if c.which == which and c.grid == grid and abs(c.fraction - fraction) < 1e-9]


def _told(cells: list[Cell], scores: list[tuple[float, float, float]]) -> Result:
    checkpoints = list(dict.fromkeys(c.checkpoint for c in cells))
    codecs = list(dict.fromkeys(codec for c in cells for codec in c.sizes))
    curves = [(c, g, k, _column(cells, c, "smallest", g, k)) for c in checkpoints for g in GRIDS for k in codecs]
    not_monotone = [curve for curve in curves if rises(curve[3])]
    numbers = {
        "curves": float(len(curves)),
        "curves_that_rise": float(len(not_monotone)),
        "largest_rise": max((b - a) / sizes[0] for *_, sizes in curves for a, b in zip(sizes, sizes[1:], strict=False)),
    }
    for part, std in REPORTED_STD.items():
        numbers[f"zeros_reported_{part}"] = zeros_of_gaussian(std, FLOORED.scale_floor)
    for key, grid in (("floor", "floor 1/31"), ("free", "no floor")):
        numbers[f"zeros_{key}"] = float(np.mean([c.zeros for c in _at(cells, "smallest", grid, 0.0)]))
        for percent in (1, 3, 5, 10, 30):
            now = _at(cells, "smallest", grid, percent / 100)
            before = _at(cells, "smallest", grid, 0.0)
            numbers[f"changed_{key}_{percent}"] = float(np.mean([c.changed for c in now]))
            numbers[f"zstd_{key}_{percent}"] = _relative(now, before)
            for null in ("random", "gaussian"):
                pair = _at(cells, null, grid, percent / 100), _at(cells, null, grid, 0.0)
                numbers[f"zstd_{key}_{percent}_{null}"] = _relative(*pair)
    rising = ", ".join(f"{k} on {c} with {g}" for c, g, k, _ in not_monotone)
    paragraph = (
        f"Without pruning {numbers['zeros_floor']:.1%} of the symbols are zero with the floor and"
        f" {numbers['zeros_free']:.1%} without it (with the floor, Gaussian weights of the spreads that #1048 reports"
        f" have {numbers['zeros_reported_up']:.1%} in MLP up and {numbers['zeros_reported_down']:.1%} in MLP down)."
        " Pruning 1%, 3% and 5% of the weights changes"
        f" {_three(numbers, 'changed_floor', '.2%')} of the symbols with the floor and"
        f" {_three(numbers, 'changed_free', '.2%')} without; zstd's bytes change by"
        f" {_three(numbers, 'zstd_floor', '+.2%')} and {_three(numbers, 'zstd_free', '+.2%')}; at 30% by"
        f" {numbers['zstd_floor_30']:+.1%} and {numbers['zstd_free_30']:+.1%} (Gaussian weights"
        f" {numbers['zstd_floor_30_gaussian']:+.1%} and {numbers['zstd_free_30_gaussian']:+.1%}; as many random weights"
        f" zeroed {numbers['zstd_floor_30_random']:+.1%} and {numbers['zstd_free_30_random']:+.1%})."
        f" Of {len(curves)} curves of bytes over fraction, {len(not_monotone)} rise anywhere by more than {RISE:.1%}"
        f"{f' ({rising})' if rising else ''}; the largest rise between neighbours is {numbers['largest_rise']:+.2%}."
    )
    if scores:
        for fraction, smallest, at_random in scores:
            key = f"floor_{fraction * 100:.0f}"
            numbers[f"bpb_{key}"], numbers[f"bpb_{key}_random"] = smallest, at_random
        told = [
            f"{fraction:.0%} {smallest:.4f} (random {at_random:.4f})"
            for fraction, smallest, at_random in scores
            if fraction
        ]
        paragraph += (
            f" Score of {checkpoints[0]} in bits per byte, floor 1/31, unpruned {numbers['bpb_floor_0']:.4f}:"
            f" {', '.join(told)}."
        )
    else:
        paragraph += " Scores were left out: they need a recipe and the dataset."
    return Result(
        study="pruning",
        title="Bytes after magnitude pruning, by fraction and codec",
        tables=_tables(cells, codecs, scores),
        draw=lambda figure: _draw(figure, cells, checkpoints[0], codecs),
        paragraph=paragraph,
        null="As many weights at random set to zero; and Gaussian weights with the same rows, without their smallest.",
        numbers=numbers,
    )


def _three(numbers: Mapping[str, float], key: str, form: str) -> str:
    return ", ".join(format(numbers[f"{key}_{percent}"], form) for percent in (1, 3, 5))


def _relative(now: list[Cell], before: list[Cell]) -> float:
    return sum(c.sizes["zstd"] for c in now) / sum(c.sizes["zstd"] for c in before) - 1.0


def _tables(cells: list[Cell], codecs: list[str], scores: list[tuple[float, float, float]]) -> dict[str, Table]:
    rows = [
        (c.checkpoint, c.which, c.grid, c.fraction, c.changed, c.zeros, *(c.sizes.get(k, float("nan")) for k in codecs))
        for c in cells
    ]
    tables = {
        "bytes": Table(
            columns=(
                *("checkpoint", "pruned", "grid", "fraction", "symbols_changed_share", "zero_symbols_share"),
                *(f"{codec}_bytes" for codec in codecs),
            ),
            rows=tuple(rows),
        )
    }
    if scores:
        columns = ("fraction", "smallest_bits_per_byte", "null_random_bits_per_byte")
        tables["score"] = Table(columns=columns, rows=tuple(scores))
    return tables


def _draw(figure: Figure, cells: list[Cell], checkpoint: str, codecs: list[str]) -> None:
    for axes, grid in zip(figure.subplots(1, 2, sharey=True), GRIDS, strict=True):
        for codec in codecs:
            sizes = _column(cells, checkpoint, "smallest", grid, codec)
            axes.plot(
                [100 * f for f in FRACTIONS], [s / sizes[0] for s in sizes], marker="o", markersize=3, label=codec
            )
        for which, line in (("gaussian", "--"), ("random", ":")):
            sizes = _column(cells, checkpoint, which, grid, "zstd")
            shares = [s / sizes[0] for s in sizes]
            axes.plot([100 * f for f in FRACTIONS], shares, line, color=MUTED, label=f"zstd, {which}")
        axes.set(title=grid, xlabel="weights set to zero (%)")
    figure.axes[0].set_ylabel("bytes over those without pruning")
    figure.axes[0].legend(fontsize=7)
