"""Bytes by role, codec and layout against the entropy of the symbols, and against the same symbols shuffled (D.6).

A codec can beat the order-0 entropy of a stream only by structure: rows or columns of different spread, rows that are
alike. So each size stands beside the entropy and beside what the same codec makes of the same symbols in random order:
where it does no better on the real order, the layout has given it nothing.

Symbols are those of the run (``quantized.safetensors``), and those of six bits with the step 1/31 (``floor``), whose
rows keep their spreads. Layouts of a role's matrices, one after another: ``rows``; ``columns`` (transposed, as an
artifact has them); ``ordered``: columns whose rows stand in a chain of likeness (#1855; the order's bytes count);
``shuffled bytes``: every other byte of ``columns`` first (#1218). ZPAQ needs the program lrzip, and is left out where
it is missing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import brotli  # type: ignore[import-untyped]
import numpy as np
import torch
import zstandard
from jaxtyping import Int8
from matplotlib.figure import Figure
from torch import Tensor

from fairway.quant.classes import classed
from fairway.quant.codecs import brotli_encoded
from fairway.quant.pergroup import has_lrzip, likeness_order, pergrouped
from fairway.records.style import MUTED, ROLE_COLOURS
from fairway.runtime.seeding import generator
from fairway.spec.roles import Role, role_of
from fairway.studies.inputs import Inputs
from fairway.studies.result import Result, Table
from fairway.studies.weights import CODECS, FLOORED, entropy_bits, laid, matrices, on_grid, run_tensors

LAYOUTS = ("rows", "columns", "ordered", "shuffled bytes")
WHOLE = "all roles"
"""In place of a role: the streams of all roles laid end to end."""
_SUM = "sum of roles"
_QUICK_CODECS = ("zstd", "range")
_SYMBOLS = "symbols/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One stream under one layout and codec."""

    checkpoint: str
    source: str
    """``run`` or ``floor``."""
    role: str
    layout: str
    codec: str
    size: int
    entropy: float
    """Order-0 entropy of the stream in bytes."""
    shuffled: int
    """Bytes of the same symbols in random order."""


def study(inputs: Inputs) -> Result:
    """Every role by every layout and codec for the first checkpoint, the quick codecs for the others."""
    found: list[Packed] = []
    halves: list[tuple[str, str, int, int, int, int]] = []
    for place, checkpoint in enumerate(inputs.checkpoints[:1] if inputs.quick else inputs.checkpoints):
        run = run_tensors(inputs, place, "quantized.safetensors")
        floored = {name: on_grid(w_OI, FLOORED)[0] for name, w_OI in matrices(checkpoint).items()}
        rounded = {
            name.removeprefix(_SYMBOLS): q_OI
            for name, q_OI in run.items()
            if name.startswith(_SYMBOLS) and name.removeprefix(_SYMBOLS) in floored
        }
        for source, named in (("run", rounded), ("floor", floored)):
            if not named or (place and source == "floor" and rounded):
                continue
            inputs.progress(f"codec_gain: {checkpoint.name}, {source}")
            layouts = (
                ("columns",) if place or inputs.quick else LAYOUTS if source == "run" or not rounded else LAYOUTS[:2]
            )
            found += by_role(checkpoint.name, source, named, layouts)
        if not place:
            halves = [
                (checkpoint.name, kind, *of_halves([v for name, v in run.items() if name.startswith(f"{kind}/")]))
                for kind in ("steps", "kept")
                if any(name.startswith(f"{kind}/") for name in run)
            ]
    return _told(found, halves)


def by_role(
    checkpoint: str, source: str, named: Mapping[str, Int8[Tensor, "_ _"]], layouts: Sequence[str]
) -> list[Packed]:
    """All streams of a checkpoint; with one layout by the quick codecs, with all of them by lrzip too."""
    codecs = tuple(CODECS) if len(layouts) > 1 else _QUICK_CODECS
    groups: dict[Role, list[Tensor]] = {}
    for name in sorted(named, key=lambda each: list(Role).index(role_of(each))):
        groups.setdefault(role_of(name), []).append(named[name])
    found = []
    for role, symbols in groups.items():
        dice = generator(0, f"codec_gain {checkpoint} {source} {role}")
        sized = _sizes(role, symbols, dice, layouts, codecs)
        entropy = _entropy_bytes(symbols)
        found += [
            Packed(
                checkpoint=checkpoint,
                source=source,
                role=role.value,
                layout=layout,
                codec=codec,
                size=size,
                entropy=entropy,
                shuffled=shuffled,
            )
            for (layout, codec), (size, shuffled) in sized.items()
        ]
    everything = [q_OI for symbols in groups.values() for q_OI in symbols]
    raw, entropy = laid(everything), _entropy_bytes(everything)
    mixed = _mixed(everything, generator(0, f"codec_gain {checkpoint} {source}"))
    for codec in codecs:
        size, shuffled = CODECS[codec](raw), CODECS[codec](mixed)
        found.append(
            Packed(
                checkpoint=checkpoint,
                source=source,
                role=WHOLE,
                layout="columns",
                codec=codec,
                size=size,
                entropy=entropy,
                shuffled=shuffled,
            )
        )
    return found


def _sizes(
    role: Role, symbols: Sequence[Tensor], dice: torch.Generator, layouts: Sequence[str], codecs: Sequence[str]
) -> dict[tuple[str, str], tuple[int, int]]:
    """Bytes, and bytes of the shuffled symbols, by layout and codec."""
    shapes = [(q_OI.shape[0], q_OI.shape[1]) for q_OI in symbols]
    mixed = _mixed(symbols, dice)
    shuffled = {codec: CODECS[codec](mixed) for codec in codecs}
    found = {}
    for layout in layouts:
        raw, beside = layout_of(symbols, layout)
        for codec in codecs:
            # the order of symbols is nothing to a model without context
            if codec != "range" or layout == "columns":
                found[layout, codec] = CODECS[codec](raw) + beside, shuffled[codec]
    in_columns = laid(symbols)
    both = role is Role.EMBEDDING
    found["columns", "classes"] = len(classed(in_columns, shapes, both=both)), len(classed(mixed, shapes, both=both))
    if "ordered" in layouts and has_lrzip():
        found["ordered", "lrzip"] = (
            len(pergrouped(in_columns, shapes, role.value)),
            len(pergrouped(mixed, shapes, role.value)),
        )
    return found


def layout_of(symbols: Sequence[Int8[Tensor, "_ _"]], layout: str) -> tuple[bytes, int]:
    """The stream of a layout, and the bytes of what has to be kept besides to undo it."""
    if layout == "rows":
        return b"".join(q_OI.contiguous().numpy().tobytes() for q_OI in symbols), 0
    if layout == "columns":
        return laid(symbols), 0
    if layout == "shuffled bytes":
        raw = laid(symbols)
        return raw[::2] + raw[1::2], 0
    orders = [likeness_order(q_OI) for q_OI in symbols]
    packed = b"".join(order_O.to(torch.int32).to(torch.uint16).numpy().tobytes() for order_O in orders)
    turned = [q_OI[order_O] for q_OI, order_O in zip(symbols, orders, strict=True)]
    return laid(turned), len(brotli_encoded(packed, 2))


def of_halves(tensors: Sequence[Tensor]) -> tuple[int, int, int, int]:
    """Bytes of values in half precision: as they are, and by zstd, brotli, and brotli with their bytes shuffled."""
    raw = b"".join(tensor.contiguous().numpy().tobytes() for tensor in tensors)
    return (
        len(raw),
        len(zstandard.ZstdCompressor(level=22).compress(raw)),
        len(brotli.compress(raw, quality=11, lgwin=24)),
        len(brotli_encoded(raw, 2)),
    )


def _mixed(symbols: Sequence[Tensor], dice: torch.Generator) -> bytes:
    flat_N = torch.cat([q_OI.flatten() for q_OI in symbols])
    return flat_N[torch.randperm(len(flat_N), generator=dice)].numpy().tobytes()


def _entropy_bytes(symbols: Sequence[Tensor]) -> float:
    flat_N = torch.cat([q_OI.flatten() for q_OI in symbols])
    return entropy_bits(flat_N) * len(flat_N) / 8


def _summed(found: list[Packed]) -> list[Packed]:
    """Roles added up, where a layout and codec has all of them."""
    sums = []
    for checkpoint, source in dict.fromkeys((p.checkpoint, p.source) for p in found):
        those = [p for p in found if (p.checkpoint, p.source) == (checkpoint, source) and p.role != WHOLE]
        roles = {p.role for p in those}
        for layout, codec in dict.fromkeys((p.layout, p.codec) for p in those):
            parts = [p for p in those if (p.layout, p.codec) == (layout, codec)]
            if {p.role for p in parts} == roles:
                sums.append(
                    Packed(
                        checkpoint=checkpoint,
                        source=source,
                        role=_SUM,
                        layout=layout,
                        codec=codec,
                        size=sum(p.size for p in parts),
                        entropy=sum(p.entropy for p in parts),
                        shuffled=sum(p.shuffled for p in parts),
                    )
                )
    return sums


def _best_over_entropy(found: list[Packed], *, embedding: bool) -> float:
    """Bytes of the best way of each role over their entropy: of the embedding, or of the other roles together."""
    best: dict[str, Packed] = {}
    for p in found:
        if p.role != WHOLE and (p.role == Role.EMBEDDING.value) is embedding:
            best[p.role] = min(best.get(p.role, p), p, key=lambda each: each.size)
    entropy = sum(p.entropy for p in best.values())
    return sum(p.size for p in best.values()) / entropy if entropy else float("nan")


def _told(found: list[Packed], halves: list[tuple[str, str, int, int, int, int]]) -> Result:
    sums = _summed(found)
    first = found[0].checkpoint
    numbers: dict[str, float] = {"has_lrzip": float(has_lrzip())}
    pieces = []
    for source in dict.fromkeys(p.source for p in sums):
        mine = [p for p in sums if p.source == source and p.checkpoint == first]
        best = min(mine, key=lambda p: p.size)
        for p in mine:
            numbers[f"{source}_{p.codec}_{p.layout.replace(' ', '_')}_over_entropy"] = p.size / p.entropy
        one = {p.codec: p for p in found if p.role == WHOLE and p.source == source and p.checkpoint == first}
        each = {p.codec: p for p in mine if p.layout == "columns"}
        numbers[f"{source}_best_over_entropy"] = best.size / best.entropy
        blocks, tables_best = (
            _best_over_entropy([p for p in found if p.source == source and p.checkpoint == first], embedding=embedding)
            for embedding in (False, True)
        )
        numbers[f"{source}_best_over_entropy_blocks"] = blocks
        numbers[f"{source}_best_over_entropy_embedding"] = tables_best
        for codec, p in one.items():
            numbers[f"{source}_{codec}_one_stream_over_roles"] = p.size / each[codec].size
        plain = ", ".join(
            f"{p.codec} {p.size / p.entropy - 1:+.1%} (shuffled {p.shuffled / p.entropy - 1:+.1%})"
            for p in sorted(each.values(), key=lambda p: p.size)
        )
        text = (
            f"Symbols of {'the run' if source == 'run' else 'six bits with the floor 1/31'} ({first}) have"
            f" {best.entropy:,.0f} bytes of order-0 entropy by role. In columns, against that: {plain}."
            f" Least of all is {best.codec} on {best.layout}, {best.size / best.entropy - 1:+.1%}. The best way of each"
            f" role takes {tables_best - 1:+.1%} for the embedding and {blocks - 1:+.1%} for all block matrices."
        )
        others = [p for p in mine if p.layout != "columns" and p.codec in each]
        if others:
            gains = ", ".join(
                f"{layout} {min(p.size / each[p.codec].size for p in others if p.layout == layout) - 1:+.2%} to"
                f" {max(p.size / each[p.codec].size for p in others if p.layout == layout) - 1:+.2%}"
                for layout in dict.fromkeys(p.layout for p in others)
            )
            text += f" Other layouts against columns, by codec: {gains}."
        ratios = [numbers[f"{source}_{codec}_one_stream_over_roles"] - 1 for codec in one]
        text += f" One stream for all roles takes {min(ratios):+.2%} to {max(ratios):+.2%}."
        pieces.append(text)
    if halves:
        numbers["halves_shuffle_gain"] = 1 - sum(h[5] for h in halves) / sum(h[4] for h in halves)
        pieces.append(
            f"Steps and kept tensors take {sum(h[4] for h in halves):,} bytes under brotli and"
            f" {sum(h[5] for h in halves):,} with high and low bytes apart."
        )
    if not has_lrzip():
        pieces.append("ZPAQ was left out: the program lrzip is not installed.")
    columns = ("checkpoint", "symbols", "role", "layout", "codec", "bytes", "entropy_bytes", "null_shuffled_bytes")
    rows = tuple(
        (p.checkpoint, p.source, p.role, p.layout, p.codec, p.size, p.entropy, p.shuffled) for p in [*found, *sums]
    )
    tables = {"streams": Table(columns=columns, rows=rows)}
    if halves:
        names = ("checkpoint", "tensors", "raw_bytes", "zstd_bytes", "brotli_bytes", "brotli_shuffled_bytes")
        tables["halves"] = Table(columns=names, rows=tuple(halves))
    return Result(
        study="codec_gain",
        title="Bytes by codec and layout against the entropy of the symbols",
        tables=tables,
        draw=lambda figure: _draw(figure, [p for p in found if p.checkpoint == first], sums, first),
        inches=(8.0, 5.5),
        paragraph=" ".join(pieces),
        null="The same symbols of each role in random order under the same codec; the order-0 entropy of their counts.",
        numbers=numbers,
    )


def _draw(figure: Figure, found: list[Packed], sums: list[Packed], first: str) -> None:
    sources = list(dict.fromkeys(p.source for p in found))
    over: Callable[[Packed], float] = lambda p: 100 * (p.size / p.entropy - 1)  # noqa: E731
    of_first = [p for p in sums if p.checkpoint == first]
    ways = list(dict.fromkeys((p.layout, p.codec) for p in of_first))
    place = {way: i for i, way in enumerate(ways)}
    for axes, source in zip(np.atleast_1d(figure.subplots(1, len(sources), sharey=True)), sources, strict=True):
        of_all = [p for p in of_first if p.source == source]
        for p in found:
            if p.source == source and (p.layout, p.codec) in place and p.role != WHOLE:
                axes.scatter(over(p), place[p.layout, p.codec], s=12, color=ROLE_COLOURS[p.role])
        heights = [place[p.layout, p.codec] for p in of_all]
        axes.barh(heights, [over(p) for p in of_all], color="#2f6fb0", alpha=0.35)
        axes.scatter([100 * (p.shuffled / p.entropy - 1) for p in of_all], heights, marker="|", s=80, color=MUTED)
        axes.axvline(0.0, color=MUTED, linewidth=0.8)
        axes.set(title=f"symbols: {source}", xlabel="bytes over order-0 entropy (%)")
    figure.axes[0].set_yticks(list(place.values()), [f"{codec}, {layout}" for layout, codec in ways], fontsize=7)
    figure.axes[0].invert_yaxis()
