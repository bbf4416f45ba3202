"""Score by document length for float, rounded and rotated weights, and where rotation begins to pay (#1695).

A comment on #1695 has it that rotation before rounding helps long documents and hurts short ones, and that the two
meet near 500 tokens. Here every checkpoint is rounded by its recipe without rotation, with its own rotation, and with
further rotations of other seeds. The last are the null model: what changes between two equally good roundings is no
effect of rotation, and its line over the length has a slope as well.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from fairway.data.byte_counts import target_bytes
from fairway.data.shards import load_tokens
from fairway.runtime.tensors import load_tensors
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.resampling import Drawn, Floats, Line, Swapped, draw_documents, line, swap_labels
from fairway.studies.result import Cell, Result, Table
from fairway.studies.roundings import FLOAT, PLAIN, ROTATED, Scored, first_documents, score_roundings

MOST_TOKENS = 200_000
"""Validation tokens that are scored, in whole documents from the beginning."""
QUICK_TOKENS = 12_000
SHORT, LONG = 300, 1000
"""Tokens below and above which the comment on #1695 speaks of short and of long documents."""
_CLASSES = 6
_SAMPLES = 4000


@dataclass(frozen=True, slots=True)
class Contrast:
    """One rounding less another, over all documents."""

    name: str
    line: Line
    drawn: Drawn
    swapped: Swapped


def study(inputs: Inputs) -> Result:
    """Score every checkpoint's documents under every rounding, and compare them by length."""
    recipe = inputs.recipe
    if inputs.val is None or inputs.tokenizer is None:
        raise Needs("study doc_length needs --data FOLDER with val/ and tokenizer.model: it scores documents")
    if recipe is None:
        raise Needs("study doc_length needs --recipe: it rounds and scores as the recipe says")
    tokens_N = load_tokens(inputs.val, "val")
    bytes_N = target_bytes(inputs.val, tokens_N, inputs.tokenizer)
    tokens_N, lengths = first_documents(tokens_N, QUICK_TOKENS if inputs.quick else MOST_TOKENS)
    if len(lengths) < 3:
        raise Needs(f"study doc_length needs three documents or more, {inputs.val} has {len(lengths)}")
    scored = []
    for i, checkpoint in enumerate(inputs.checkpoints):
        hessians = inputs.run_file(i, "hessians.safetensors")
        if hessians is None:
            raise Needs(f"study doc_length needs hessians.safetensors beside {checkpoint.path}: rounding is by GPTQ")
        inputs.progress(f"doc_length: {checkpoint.name}")
        gathered, others = load_tensors(hessians), 1 if inputs.quick else 2
        scored.append(
            score_roundings(checkpoint, gathered, recipe, tokens_N, bytes_N[: len(tokens_N)], lengths, others)
        )
    return result(scored, np.asarray(lengths, dtype=np.float64))


def result(scored: list[Scored], lengths_D: Floats) -> Result:
    """Tables, figure and paragraph of what was scored; documents without text are left out."""
    written = scored[0].costs[FLOAT].bytes_D > 0
    scored, lengths_D = [each.of(written) for each in scored], lengths_D[written]
    others = [name for name in scored[0].costs if name not in (FLOAT, PLAIN, ROTATED)]
    pooled = [
        _contrast(f"{PLAIN} - {FLOAT}", scored, PLAIN, FLOAT, lengths_D),
        _contrast(f"{ROTATED} - {FLOAT}", scored, ROTATED, FLOAT, lengths_D),
        _contrast(f"{ROTATED} - {PLAIN}", scored, ROTATED, PLAIN, lengths_D),
    ]
    nulls = [_contrast(f"null: {name} - {ROTATED}", scored, name, ROTATED, lengths_D) for name in others]
    singles = [_contrast(f"{ROTATED} - {PLAIN}, {each.name}", [each], ROTATED, PLAIN, lengths_D) for each in scored]
    effect = pooled[2]
    numbers = _numbers(scored, pooled, nulls, singles, lengths_D)
    return Result(
        study="doc_length",
        title="Score by document length: float, rounded, rotated",
        tables={
            "contrasts": _contrast_table([*pooled, *nulls, *singles]),
            "classes": _class_table(scored, lengths_D, others),
            "checkpoints": _checkpoint_table(scored),
        },
        draw=lambda figure: _draw(figure, scored, lengths_D, others, effect),
        paragraph=_paragraph(numbers, len(scored), lengths_D),
        null=(
            "Two: the same recipe with a rotation of another seed instead of the recipe's (rows 'null'), and the labels"
            " of the two sides swapped by a coin toss for each document, for the slope with the mean taken out (columns"
            " p)."
        ),
        numbers=numbers,
    )


def _difference(scored: list[Scored], name: str, base: str) -> tuple[Floats, Floats]:
    """Nats of each document on one side less on the other, mean over checkpoints, and its bytes."""
    nats_SD = np.stack([each.costs[name].nats_D - each.costs[base].nats_D for each in scored])
    return nats_SD.mean(0), scored[0].costs[name].bytes_D


def _contrast(label: str, scored: list[Scored], name: str, base: str, lengths_D: Floats) -> Contrast:
    nats_D, bytes_D = _difference(scored, name, base)
    settings = {"samples": _SAMPLES, "seed": 1695}
    return Contrast(
        label,
        line(nats_D, bytes_D, lengths_D),
        draw_documents(nats_D, bytes_D, lengths_D, **settings),
        swap_labels(nats_D, bytes_D, lengths_D, **settings),
    )


def _contrast_table(contrasts: list[Contrast]) -> Table:
    columns = (
        *("contrast", "difference (BPB)", "low (BPB)", "high (BPB)", "p of difference"),
        *("slope (BPB per doubling)", "slope low", "slope high", "p of slope"),
        *("crossover (tokens)", "crossover low", "crossover high", "samples with a crossover"),
    )
    rows = []
    for each in contrasts:
        own, drawn, swapped = each.line, each.drawn, each.swapped
        rows.append(
            (
                *(each.name, own.mean, drawn.mean.low, drawn.mean.high, swapped.p_mean),
                *(own.slope, drawn.slope.low, drawn.slope.high, swapped.p_slope),
                *(own.zero, drawn.zero.low, drawn.zero.high, drawn.with_zero),
            )
        )
    return Table(columns=columns, rows=tuple(rows))


def _class_of(lengths_D: Floats) -> NDArray[np.int64]:
    edges = np.unique(np.quantile(lengths_D, np.linspace(0, 1, _CLASSES + 1)))
    return np.searchsorted(edges[1:-1], lengths_D, side="right")


def _class_table(scored: list[Scored], lengths_D: Floats, others: list[str]) -> Table:
    names = (FLOAT, PLAIN, ROTATED, *others)
    rows: list[tuple[Cell, ...]] = []
    of_class = _class_of(lengths_D)
    for number in np.unique(of_class):
        own = of_class == number
        text = scored[0].costs[FLOAT].bytes_D[own].sum()
        levels = [
            np.mean([each.costs[name].nats_D[own].sum() for each in scored]) / text / math.log(2) for name in names
        ]
        shortest, longest = int(lengths_D[own].min()), int(lengths_D[own].max())
        rows.append((f"{shortest}-{longest}", int(own.sum()), *map(float, levels), float(levels[2] - levels[1])))
    columns = ("length (tokens)", "documents", *(f"{name} (BPB)" for name in names), f"{ROTATED} - {PLAIN} (BPB)")
    return Table(columns=columns, rows=tuple(rows))


def _checkpoint_table(scored: list[Scored]) -> Table:
    rows = []
    for each in scored:
        for name, costs in each.costs.items():
            size = each.sizes.get(name, math.nan)
            rows.append((each.name, name, float(costs.nats_D.sum() / costs.bytes_D.sum() / math.log(2)), size))
    return Table(columns=("checkpoint", "weights", "score (BPB)", "artifact (bytes)"), rows=tuple(rows))


def _numbers(
    scored: list[Scored],
    pooled: list[Contrast],
    nulls: list[Contrast],
    singles: list[Contrast],
    lengths_D: Floats,
) -> dict[str, float]:
    plain, turned_, effect = pooled
    nats_D, bytes_D = _difference(scored, ROTATED, PLAIN)
    found = {
        "documents": float(len(lengths_D)),
        "shortest_tokens": float(lengths_D.min()),
        "longest_tokens": float(lengths_D.max()),
        "penalty_rounded_bpb": plain.line.mean,
        "penalty_rotated_bpb": turned_.line.mean,
        "difference_bpb": effect.line.mean,
        "difference_low_bpb": effect.drawn.mean.low,
        "difference_high_bpb": effect.drawn.mean.high,
        "slope_bpb_per_doubling": effect.line.slope,
        "slope_low": effect.drawn.slope.low,
        "slope_high": effect.drawn.slope.high,
        "slope_p": effect.swapped.p_slope,
        "slopes_below_zero": float(sum(each.line.slope < 0 for each in singles)),
        "crossover_tokens": effect.line.zero,
        "crossover_low_tokens": effect.drawn.zero.low,
        "crossover_high_tokens": effect.drawn.zero.high,
        "crossover_share": effect.drawn.with_zero,
        "null_difference_bpb": max((abs(each.line.mean) for each in nulls), default=math.nan),
        "null_slope_bpb_per_doubling": max((abs(each.line.slope) for each in nulls), default=math.nan),
        "logit_change": max(each.logit_change for each in scored),
        "size_change_share": float(np.mean([each.sizes[ROTATED] / each.sizes[PLAIN] - 1 for each in scored])),
        "short_documents": float((lengths_D < SHORT).sum()),
        "long_documents": float((lengths_D > LONG).sum()),
    }
    for name, own in (("short_bpb", lengths_D < SHORT), ("long_bpb", lengths_D > LONG)):
        found[name] = float(nats_D[own].sum() / bytes_D[own].sum() / math.log(2)) if own.any() else math.nan
    return found


def _paragraph(found: Mapping[str, float], checkpoints: int, lengths_D: Floats) -> str:
    shortest, longest = lengths_D.min(), lengths_D.max()
    direction = "better" if found["difference_bpb"] < 0 else "worse"
    is_beyond = abs(found["slope_bpb_per_doubling"]) > found["null_slope_bpb_per_doubling"]
    is_told = found["slope_low"] > 0 or found["slope_high"] < 0
    if math.isnan(found["crossover_tokens"]):
        place = (
            f"The line does not cross zero between {shortest:.0f} and {longest:.0f} tokens;"
            f" {found['crossover_share']:.0%} of the samples of documents have a crossover there."
        )
    else:
        place = (
            f"The line crosses zero at {found['crossover_tokens']:.0f} tokens; of the samples of documents"
            f" {found['crossover_share']:.0%} have a crossover within the lengths that there are, 95% of those between"
            f" {found['crossover_low_tokens']:.0f} and {found['crossover_high_tokens']:.0f} tokens."
        )
    return (
        f"Over {found['documents']:.0f} documents of {shortest:.0f} to {longest:.0f} tokens and"
        f" {checkpoints} {'checkpoint' if checkpoints == 1 else 'checkpoints'}, rounding costs"
        f" {found['penalty_rounded_bpb']:+.4f} BPB without rotation and {found['penalty_rotated_bpb']:+.4f} with it:"
        f" rotated weights are {abs(found['difference_bpb']):.4f} BPB {direction} (95% over documents:"
        f" {found['difference_low_bpb']:+.4f} to {found['difference_high_bpb']:+.4f}), where another rotation of the"
        f" same kind alone makes up to {found['null_difference_bpb']:.4f}. With each doubling of the length the"
        f" difference changes by {found['slope_bpb_per_doubling']:+.5f} BPB ({found['slope_low']:+.5f} to"
        f" {found['slope_high']:+.5f}; p = {found['slope_p']:.2g} with labels swapped;"
        f" {found['slopes_below_zero']:.0f} of {checkpoints} checkpoints below zero); between two rotations it is up to"
        f" {found['null_slope_bpb_per_doubling']:.5f}, so the dependence on length"
        f" {'is beyond' if is_beyond and is_told else 'is not told apart from'} that of any second rounding. {place}"
        f" In float the rotated model's logits move by {found['logit_change']:.1e} at most, and its artifact is"
        f" {found['size_change_share']:+.2%} in size."
    )


def _draw(figure: Figure, scored: list[Scored], lengths_D: Floats, others: list[str], effect: Contrast) -> None:
    axes = figure.add_subplot()
    nats_D, bytes_D = _difference(scored, ROTATED, PLAIN)
    axes.scatter(lengths_D, nats_D / bytes_D / math.log(2), s=9, color="#6b7785", alpha=0.5, label="a document")
    of_class = _class_of(lengths_D)
    for name, base, colour in [(ROTATED, PLAIN, "#2f6fb0"), *((other, ROTATED, "#d1632a") for other in others)]:
        nats_D, bytes_D = _difference(scored, name, base)
        owns = [of_class == number for number in np.unique(of_class)]
        centres = [float(np.exp(np.log(lengths_D[own]).mean())) for own in owns]
        levels = [float(nats_D[own].sum() / bytes_D[own].sum() / math.log(2)) for own in owns]
        label = f"{name} - {base}" if colour == "#2f6fb0" else f"null: {name} - {base}"
        axes.plot(centres, levels, color=colour, marker="o", markersize=3.5, linewidth=1.4, label=label)
    axes.axhline(0.0, color="#1f2933", linewidth=0.8)
    if not math.isnan(effect.line.zero):
        axes.axvline(effect.line.zero, color="#2f6fb0", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("length of the document in tokens")
    axes.set_ylabel("difference in bits per byte")
    axes.legend()
