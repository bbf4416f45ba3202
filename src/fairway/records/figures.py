"""Five pictures of a run, each a function of facts; ``write_figures`` draws all of them into a folder."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from fairway.records.facts import Curve, RunFacts, SeedFacts, TensorError, TensorSize
from fairway.records.layout import figure_name
from fairway.records.ledgers import Ledger
from fairway.records.style import (
    GRID,
    INK,
    MUTED,
    PAPER,
    ROLE_COLOURS,
    ROLE_TITLES,
    Sheet,
    no_frame,
    panels,
    save_figure,
    seed_colour,
    styled,
    thousands,
    titled_figure,
)

FIGURE_CAPTIONS = {
    "loss_curves": "Training loss of every seed; on the right the last third, where the seeds can be told apart.",
    "bytes_by_role": "Where the bytes go, in the largest artifact; the mark on a bar is the order-0 entropy bound.",
    "error_by_tensor": "Relative output error of each matrix, rounded or GPTQ, before and after rotation.",
    "bpb_along_evaluation": "Bits per byte as the evaluation goes on; dashed, the same artifact without adaptation.",
    "score_by_length": "Bits per byte by length of document, and how much of the text each length holds.",
}
"""Name of each figure, which is also its file, and what it shows."""

_LOCAL_BINS = 50
_LENGTH_BINS = 8
_CROWD = 2000
"""From so many documents on, dots are small and faint."""


def write_figures(run: RunFacts, folder: Path, *, cap_bytes: int | None = None) -> list[Path]:
    """Draw all figures of a run as PNG files into ``folder``; with the track's cap if it is given."""
    seeds = [seed.seed for seed in run.seeds]
    ledgers = [seed.ledger for seed in run.seeds]
    largest = max(run.seeds, key=lambda seed: seed.artifact_bytes)
    figures = {
        "loss_curves": loss_curves(seeds, [seed.curve for seed in run.seeds]),
        "bytes_by_role": bytes_by_role(largest, code_bytes=run.code_bytes, cap_bytes=cap_bytes),
        "error_by_tensor": error_by_tensor([seed.errors for seed in run.seeds]),
        "bpb_along_evaluation": bpb_along_evaluation(seeds, ledgers, [seed.quantized.bpb for seed in run.seeds]),
        "score_by_length": score_by_length(seeds, ledgers, run.document_tokens),
    }
    assert figures.keys() == FIGURE_CAPTIONS.keys()
    paths = []
    for name, figure in figures.items():
        paths.append(folder / figure_name(name))
        save_figure(figure, paths[-1])
    return paths


@styled()
def loss_curves(seeds: Sequence[int], curves: Sequence[Curve]) -> Figure:
    """Training loss over steps: the whole of it, and its last third by itself."""
    sheet = Sheet(top=1.05, left=0.6)
    ends = [curve.loss_nats[-1] for curve in curves]
    figure = titled_figure(
        "Training loss", f"nats per token; the last logged value is {_between(ends, '.3f')} over {_seeds(seeds)}", sheet
    )
    cells = panels(figure, sheet, 1, 2, width_ratios=[3, 2], wspace=0.2)
    whole, tail = figure.add_subplot(cells[0, 0]), figure.add_subplot(cells[0, 1])
    last = max(curve.steps[-1] for curve in curves)
    tail_losses: list[float] = []
    for index, (seed, curve) in enumerate(zip(seeds, curves, strict=True)):
        marker = "o" if len(curve.steps) < 40 else ""
        for axes in (whole, tail):
            axes.plot(
                curve.steps,
                curve.loss_nats,
                color=seed_colour(index),
                linewidth=1.4,
                marker=marker,
                markersize=3,
                label=f"seed {seed}",
            )
        pairs = zip(curve.steps, curve.loss_nats, strict=True)
        tail_losses += [loss for step, loss in pairs if step >= last * 2 / 3]
    for axes in (whole, tail):
        axes.set_xlabel("step")
        thousands(axes.xaxis)
    whole.set_xlim(0, last)
    tail.set_xlim(last * 2 / 3, last)
    margin = 0.08 * (max(tail_losses) - min(tail_losses)) or 0.01
    tail.set_ylim(min(tail_losses) - margin, max(tail_losses) + margin)
    whole.set_title("all steps")
    tail.set_title("last third")
    tail.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    _mark_loops(whole, [curve.loops_on_step for curve in curves])
    whole.legend(loc="upper right")
    return figure


def _mark_loops(axes: Axes, steps: Sequence[int | None]) -> None:
    """Show at which step the depth recurrence began, once for all seeds that began together."""
    for step in sorted({step for step in steps if step is not None}):
        axes.axvline(step, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
    first = min((step for step in steps if step is not None), default=None)
    if first is not None:
        axes.annotate(
            "loops on",
            (first, 0.97),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color=MUTED,
            va="top",
        )


@styled()
def bytes_by_role(seed: SeedFacts, *, code_bytes: int, cap_bytes: int | None) -> Figure:
    """One artifact and the code, as shares of the cap and role by role against the entropy of the symbols."""
    parts = _bytes_of_roles(seed.sizes, seed.artifact_bytes) | {"code": (float(code_bytes), None)}
    total = code_bytes + seed.artifact_bytes
    room = (
        ""
        if cap_bytes is None
        else f", {cap_bytes - total:,} below the cap"
        if total <= cap_bytes
        else ", over the cap"
    )
    sheet = Sheet(height=1.95 + 0.3 * len(parts), left=1.75, right=1.9, bottom=0.5)
    figure = titled_figure(
        "Bytes by role",
        f"seed {seed.seed}: {seed.artifact_bytes:,} artifact + {code_bytes:,} code = {total:,}{room}",
        sheet,
    )
    cells = panels(figure, sheet, 2, 1, height_ratios=[1, 0.75 * len(parts)], hspace=0.3 / len(parts) + 0.12)
    _share_strip(figure.add_subplot(cells[0, 0]), parts, cap_bytes)
    axes = figure.add_subplot(cells[1, 0])
    for row, (role, (size, bound)) in enumerate(parts.items()):
        axes.barh(row, size, height=0.66, color=ROLE_COLOURS[role])
        note = f"{size:,.0f}  ({size / total:.1%})"
        if bound is not None:
            axes.plot([bound, bound], [row - 0.4, row + 0.4], color=INK, linewidth=1.4)
            note += f"  {_over(size, bound)}"
        axes.annotate(
            note, (max(size, bound or 0.0), row), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5
        )
    axes.set_yticks(range(len(parts)), [_role_title(role, seed.sizes) for role in parts])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.set_xlabel("bytes; black mark and last number: order-0 entropy of the symbols")
    thousands(axes.xaxis)
    return figure


def _bytes_of_roles(sizes: Sequence[TensorSize], artifact_bytes: int) -> dict[str, tuple[float, float | None]]:
    """Bytes and entropy bound of each role, largest first, and last the container: what belongs to no tensor."""
    roles: dict[str, tuple[float, float | None]] = {}
    sizes = [size for size in sizes if size.role != "container"]
    for role in dict.fromkeys(size.role for size in sizes):
        own = [size for size in sizes if size.role == role]
        bounds = [size.entropy_bytes for size in own if size.entropy_bytes is not None]
        roles[role] = sum(size.size_bytes for size in own), sum(bounds) if len(bounds) == len(own) else None
    roles = dict(sorted(roles.items(), key=lambda item: -item[1][0]))
    return roles | {"container": (max(0.0, artifact_bytes - sum(size.size_bytes for size in sizes)), None)}


def _share_strip(axes: Axes, parts: dict[str, tuple[float, float | None]], cap_bytes: int | None) -> None:
    """All parts end to end in one bar, with the cap as a line where there is one."""
    left = 0.0
    for role, (size, _) in parts.items():
        axes.barh(0, size, left=left, height=1, color=ROLE_COLOURS[role], edgecolor=PAPER, linewidth=0.8)
        left += size
    no_frame(axes)
    axes.set_yticks([])
    axes.set_xticks([])
    axes.set_xlim(0, max(left, cap_bytes or 0) * 1.002)
    axes.set_ylim(-0.5, 0.5)
    if cap_bytes is None:
        return
    axes.axvline(cap_bytes, color=INK, linewidth=1.6)
    axes.annotate(
        f"cap {cap_bytes:,}", (cap_bytes, 0), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8.5
    )


def _over(size: float, bound: float) -> str:
    return f"{size / bound - 1:+.1%}" if bound else ""


def _role_title(role: str, sizes: Sequence[TensorSize]) -> str:
    bits = sorted({size.bits for size in sizes if size.role == role != "container"})
    return f"{ROLE_TITLES[role]}, {'/'.join(map(str, bits))} bit" if bits else ROLE_TITLES[role]


_PLAIN, _ROTATED = "#9aa5b1", "#2f6fb0"
_MATRIX_ROLES = ("query", "key", "value", "attn_out", "mlp_up", "mlp_down", "embedding")


@styled()
def error_by_tensor(errors: Sequence[Sequence[TensorError]]) -> Figure:
    """Error of each matrix, mean over the seeds: one panel a role, layers from left to right."""
    by_name = {error.name: [_named(seed, error.name) for seed in errors] for error in errors[0]}
    series = _error_series([error for seed in errors for error in seed])
    sheet = Sheet(height=5.4, left=0.75, top=1.05)
    figure = titled_figure(
        "Error by tensor",
        "output lost, tr(E H Eᵀ) / tr(W H Wᵀ), by layer, mean over seeds" + _gain(errors, series),
        sheet,
    )
    cells = panels(figure, sheet, 2, 4, hspace=0.38, wspace=0.12)
    first: Axes | None = None
    for place, role in enumerate(_MATRIX_ROLES):
        names = [name for name, seeds in by_name.items() if seeds[0].role == role]
        axes = figure.add_subplot(cells[divmod(place, 4)], sharey=first)
        first = first or axes
        axes.set_title(ROLE_TITLES[role])
        axes.set_yscale("log")
        _one_two_five(axes.yaxis, lambda value: f"{100 * value:g}%")
        axes.tick_params(axis="y", which="both", labelleft=place % 4 == 0)
        layers = [_layer(name) for name in names]
        for key, _, colour, fill in series:
            values = [_mean_of(by_name[name], key) for name in names]
            axes.plot(
                layers,
                [math.nan if value is None else value for value in values],
                color=colour,
                marker="o",
                markerfacecolor=fill,
                markersize=4.5,
                linewidth=1.0,
            )
        _layer_ticks(axes, layers)
    legend = figure.add_subplot(cells[1, 3])
    no_frame(legend)
    legend.set_xticks([])
    legend.set_yticks([])
    handles = [
        Line2D([], [], color=colour, marker="o", markerfacecolor=fill, markersize=5, label=label)
        for _, label, colour, fill in series
    ]
    legend.legend(handles=handles, loc="center", handlelength=1.6, title="rounded", alignment="left")
    return figure


_Series = tuple[str, str, str, str]
"""Which error, its words, colour of line and filling of dot."""


def _error_series(errors: Sequence[TensorError]) -> list[_Series]:
    """What there is to tell apart: rotation only where it changed an error, GPTQ only where it did."""

    def changed(one: str, other: str) -> bool:
        pairs = [(getattr(error, one), getattr(error, other)) for error in errors]
        return any(a is not None and b is not None and a != b for a, b in pairs)

    rotation, gptq = changed("nearest", "nearest_unrotated"), changed("nearest", "gptq")
    series = [("nearest", "rotated, to nearest" if rotation else "to nearest", _ROTATED, PAPER)]
    if gptq:
        series.append(("gptq", "rotated, by GPTQ" if rotation else "by GPTQ", _ROTATED, _ROTATED))
    if rotation:
        series.insert(0, ("nearest_unrotated", "to nearest", _PLAIN, PAPER))
    if rotation and gptq:
        series.insert(2, ("gptq_unrotated", "by GPTQ", _PLAIN, _PLAIN))
    return series


def _gain(errors: Sequence[Sequence[TensorError]], series: Sequence[_Series]) -> str:
    """What the last series leaves of the first in the median matrix."""
    (first, _, _, _), (last, title, _, _) = series[0], series[-1]
    pairs = [(getattr(error, last), getattr(error, first)) for seed in errors for error in seed]
    ratios = [after / before for after, before in pairs if after is not None and before]
    if first == last or not ratios:
        return ""
    return f"; {title}: {np.median(ratios):.0%} of plain rounding (median)"


def _named(errors: Sequence[TensorError], name: str) -> TensorError:
    return next(error for error in errors if error.name == name)


def _mean_of(seeds: Sequence[TensorError], key: str) -> float | None:
    values = [value for error in seeds if (value := getattr(error, key)) is not None]
    return sum(values) / len(values) if values else None


def _one_two_five(axis: Axis, text: Callable[[float], str]) -> None:
    """Ticks of a logarithmic axis at 1, 2, 5, 10, 20, 50 and so on, each with its text."""
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
    axis.set_minor_locator(NullLocator())


def _layer(name: str) -> int:
    return int(name.split(".")[1]) if name.startswith("blocks.") else 0


def _layer_ticks(axes: Axes, layers: Sequence[int]) -> None:
    if len(layers) == 1:
        axes.set_xticks([])
        axes.set_xlim(-1, 1)
        return
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlim(-0.4, max(layers, default=0) + 0.4)


@styled()
def bpb_along_evaluation(seeds: Sequence[int], ledgers: Sequence[Ledger], quantized_bpb: Sequence[float]) -> Figure:
    """Bits per byte of all that is scored so far, and of each fiftieth by itself, in the ledger's order."""
    sheet = Sheet()
    ends = [_bpb(ledger.nats.sum(), ledger.bytes.sum()) for ledger in ledgers]
    figure = titled_figure(
        "Bits per byte along the evaluation",
        f"{_between(ends, '.4f')} in the end; {_between(quantized_bpb, '.4f')} by the same weights as they were loaded",
        sheet,
    )
    axes = figure.add_subplot(panels(figure, sheet, 1, 1)[0, 0])
    shown: list[float] = [*quantized_bpb]
    for index, (seed, ledger) in enumerate(zip(seeds, ledgers, strict=True)):
        targets, so_far, local = along(ledger)
        shown += [*so_far, *local]
        colour = seed_colour(index)
        axes.plot(targets, local, color=colour, linewidth=0.9, alpha=0.3)
        axes.plot(targets, so_far, color=colour, linewidth=1.8, label=f"seed {seed}   {ends[index]:.4f}")
        axes.axhline(quantized_bpb[index], color=colour, linewidth=0.9, linestyle=(0, (4, 3)))
    low, high = np.quantile(shown, [0.01, 0.99])
    axes.set_ylim(low - 0.12 * (high - low), high + 0.2 * (high - low))
    axes.set_xlim(0, max(int((ledger.stops - ledger.starts).sum()) for ledger in ledgers))
    _mark_phases(axes, ledgers[0])
    axes.set_xlabel("targets scored")
    axes.set_ylabel("bits per byte")
    thousands(axes.xaxis)
    seeds_legend = axes.legend(loc="upper right")
    axes.add_artist(seeds_legend)
    kinds = [
        Line2D([], [], color=MUTED, linewidth=1.8, label="all targets so far"),
        Line2D([], [], color=MUTED, linewidth=0.9, alpha=0.5, label=f"each {_LOCAL_BINS}th part by itself"),
        Line2D([], [], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), label="as loaded, all targets"),
    ]
    axes.legend(handles=kinds, loc="upper center")
    return figure


def _mark_phases(axes: Axes, ledger: Ledger) -> None:
    """Show where the base weights learned; a phase has many steps at one place of the evaluation."""
    phases = sorted({targets for targets, what in ledger.learned if what == "sgd"})
    for targets in phases:
        axes.axvline(targets, color=MUTED, linewidth=0.9, linestyle=(0, (1, 2)))
    if phases:
        axes.annotate(
            "base learns",
            (phases[0], 0.03),
            xycoords=("data", "axes fraction"),
            xytext=(4, 0),
            textcoords="offset points",
            color=MUTED,
        )


def along(
    ledger: Ledger, bins: int = _LOCAL_BINS
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Targets scored at the end of each of ``bins`` equal stretches, bits per byte so far, and of the stretch alone.

    A stretch ends with a span, so it is equal to within one span.
    """
    targets, nats, spelled = (np.cumsum(part) for part in (ledger.stops - ledger.starts, ledger.nats, ledger.bytes))
    wanted = targets[-1] * np.arange(1, bins + 1) / bins
    ends = np.unique(np.searchsorted(targets, wanted).clip(max=len(targets) - 1))
    # A stretch without a byte (a BOS alone) has no score; it is joined to the next one.
    ends = ends[np.diff(spelled[ends], prepend=0.0) > 0]
    local = np.diff(nats[ends], prepend=0.0) / np.diff(spelled[ends], prepend=0.0) / math.log(2)
    return targets[ends].astype(np.float64), nats[ends] / spelled[ends] / math.log(2), local


@styled()
def score_by_length(seeds: Sequence[int], ledgers: Sequence[Ledger], document_tokens: Sequence[int]) -> Figure:
    """Bits per byte of each document and of eight classes of length with equally many documents."""
    sheet = Sheet(height=5.2)
    lengths = np.asarray(document_tokens, dtype=np.int64)
    edges = np.unique(np.quantile(lengths, np.linspace(0, 1, _LENGTH_BINS + 1)))
    classes = np.searchsorted(edges[1:-1], lengths, side="right")
    figure = titled_figure(
        "Score by document length",
        f"{len(lengths):,} documents of {lengths.min():,} to {lengths.max():,} tokens;"
        f" lines: {classes.max() + 1} classes of equally many documents",
        sheet,
    )
    cells = panels(figure, sheet, 2, 1, height_ratios=[4, 1], hspace=0.12)
    axes = figure.add_subplot(cells[0, 0])
    share = figure.add_subplot(cells[1, 0], sharex=axes)
    scores = [document_scores(ledger, lengths) for ledger in ledgers]
    spelled = scores[0][1]
    nats = np.mean([nats for nats, _ in scores], axis=0)
    written = spelled > 0
    crowd = len(lengths) >= _CROWD
    axes.scatter(
        lengths[written],
        nats[written] / spelled[written] / math.log(2),
        s=3 if crowd else 14,
        color=MUTED,
        alpha=0.12 if crowd else 0.35,
        linewidths=0,
        label="a document",
    )
    of_class = [classes == number for number in range(classes.max() + 1)]
    peopled = [own for own in of_class if own.any()]  # few documents leave classes empty
    centres = [float(np.exp(np.log(lengths[own]).mean())) for own in peopled]
    for index, (seed, (seed_nats, seed_bytes)) in enumerate(zip(seeds, scores, strict=True)):
        levels = [_bpb(seed_nats[own].sum(), seed_bytes[own].sum()) for own in peopled]
        axes.plot(
            centres, levels, color=seed_colour(index), marker="o", markersize=4, linewidth=1.6, label=f"seed {seed}"
        )
    axes.set_ylabel("bits per byte")
    axes.set_xscale("log")
    axes.tick_params(axis="x", labelbottom=False)
    axes.legend(loc="upper right", ncols=len(seeds) + 1 if len(seeds) < 5 else 3)
    widths = np.diff(edges) if len(edges) > 1 else [1.0]
    shares = [spelled[own].sum() / spelled.sum() for own in of_class]
    share.bar(edges[:-1] if len(edges) > 1 else edges, shares, width=widths, align="edge", color=GRID, edgecolor=MUTED)
    share.set_ylabel("share of text")
    share.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    share.yaxis.set_major_locator(MaxNLocator(3))
    share.set_xlabel("length of the document in tokens")
    _one_two_five(share.xaxis, lambda value: f"{value:,.0f}")
    return figure


def document_scores(
    ledger: Ledger, document_tokens: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nats and bytes of each document.

    A document's targets are what follows its BOS up to the next document's BOS. A span over a boundary (sliding
    windows have such) is shared among its documents in proportion to its targets in each.
    """
    starts_of_documents = np.cumsum(document_tokens) - document_tokens
    first = np.searchsorted(starts_of_documents, ledger.starts) - 1
    last = np.searchsorted(starts_of_documents, ledger.stops - 1) - 1
    inside = first == last
    sizes = (ledger.stops - ledger.starts)[~inside]
    within = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    targets = np.repeat(ledger.starts[~inside], sizes) + within
    owners = np.concatenate([first[inside], np.searchsorted(starts_of_documents, targets) - 1])

    def by_document(part: NDArray[np.float64]) -> NDArray[np.float64]:
        weights = np.concatenate([part[inside], np.repeat(part[~inside] / sizes, sizes)])
        return np.bincount(owners, weights=weights, minlength=len(document_tokens)).astype(np.float64)

    return by_document(ledger.nats), by_document(ledger.bytes)


def _bpb(nats: float, spelled: float) -> float:
    return float(nats / spelled / math.log(2)) if spelled else math.nan


def _between(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"{len(seeds)} seeds"
