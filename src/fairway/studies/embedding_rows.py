"""Embedding rows in half precision by their entropy (#1048 finding 7): raw and compressed bytes, and error.

#1048 takes the entropy of each row's 256-bin histogram over the table's whole range, keeps the tenth of the rows that
have most in half precision and the rest in six bits, and tells 944 KB saved, in bytes before compression. Here the
compressed bytes stand beside the raw ones, and the choice by entropy beside three others: rows at random, rows of
largest norm, and rows that rounding hurts most. A histogram over a fixed range is wider for a larger row, so entropy
may be nothing but size told in another unit: its rank correlation with the row's norm is compared with that of Gaussian
rows of the same norms.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.stats import spearmanr
from torch import Tensor

from fairway.quant.codecs import brotli_encoded
from fairway.records.style import MUTED
from fairway.runtime.seeding import generator
from fairway.spec.quant import QuantileGrid
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.result import Cell, Result, Table
from fairway.studies.weights import CODECS, FLOORED, FREE, on_grid

BINS = 256
SHARES = (0.0, 0.1, 0.2, 1.0)
"""Of the rows that stay in half precision: none, #1048's two choices, all."""
GRIDS: Mapping[str, QuantileGrid] = {"floor 1/31": FLOORED, "no floor": FREE}
_DRAWS, _QUICK_DRAWS = 2, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A table of embeddings with some rows kept in half precision."""

    checkpoint: str
    grid: str
    by: str
    share: float
    raw: float
    """Bytes before compression: six bits a weight, two bytes a step, two bytes a kept weight."""
    packed: float
    """Bytes after it: symbols, steps and kept rows, each by the best codec."""
    squared: float
    """Mean squared error over the mean square of the table."""


def study(inputs: Inputs) -> Result:
    """Entropy of each row, and bytes and error of every choice; ``Needs`` without a token embedding."""
    tables = {c.name: c.state["embedding"] for c in inputs.checkpoints if "embedding" in c.state}
    if not tables:
        raise Needs("study embedding_rows needs a checkpoint with a token embedding (embedding or tok_emb.weight)")
    choices: list[Choice] = []
    for checkpoint, w_VD in tables.items():
        inputs.progress(f"embedding_rows: {checkpoint}")
        choices += compared(checkpoint, w_VD, _QUICK_DRAWS if inputs.quick else _DRAWS)
    return _told(tables, choices)


def row_entropies(w_VD: Float[Tensor, "V D"]) -> Float[Tensor, " V"]:
    """Entropy in bits of each row's histogram; the bins divide the range of the whole table, as in #1048."""
    low, high = float(w_VD.min()), float(w_VD.max())
    places_VD = ((w_VD - low) / max(high - low, 1e-30) * BINS).long().clamp_max(BINS - 1)
    counts_VB = torch.zeros(len(w_VD), BINS, dtype=torch.float64)
    counts_VB.scatter_add_(1, places_VD, torch.ones_like(w_VD, dtype=torch.float64))
    shares_VB = counts_VB / w_VD.shape[1]
    return (torch.special.entr(shares_VB).sum(1) / np.log(2)).float()


def same_norms(w_VD: Float[Tensor, "V D"], draws: torch.Generator) -> Float[Tensor, "V D"]:
    """Gaussian rows that have exactly the norms of these."""
    noise_VD = torch.randn(w_VD.shape, generator=draws)
    return noise_VD * (w_VD.norm(dim=1, keepdim=True) / noise_VD.norm(dim=1, keepdim=True))


def compared(checkpoint: str, w_VD: Float[Tensor, "V D"], draws: int) -> list[Choice]:
    """One table under every grid, choice and share."""
    orders = {
        "entropy": [row_entropies(w_VD)],
        "norm": [w_VD.square().sum(1)],
        "random": [torch.rand(len(w_VD), generator=generator(i, f"rows {checkpoint}")) for i in range(draws)],
    }
    found = []
    for called, grid in GRIDS.items():
        q_VD, step_V = on_grid(w_VD, grid)
        error_V = (q_VD.float() * step_V[:, None] - w_VD).square().sum(1)
        for by, ranks in (*orders.items(), ("error", [error_V])):
            for share in SHARES:
                if share in (0.0, 1.0) and by != "entropy":
                    continue
                rows = round(share * len(w_VD))
                told = [_stored(w_VD, q_VD, step_V, error_V, rank_V.topk(rows).indices) for rank_V in ranks]
                raw, packed, squared = (float(np.mean(each)) for each in zip(*told, strict=True))
                found.append(
                    Choice(
                        checkpoint=checkpoint, grid=called, by=by, share=share, raw=raw, packed=packed, squared=squared
                    )
                )
    return found


def _stored(w_VD: Tensor, q_VD: Tensor, step_V: Tensor, error_V: Tensor, kept_K: Tensor) -> tuple[float, float, float]:
    """Raw bytes, packed bytes and relative squared error with these rows in half precision."""
    rounded = torch.ones(len(w_VD), dtype=torch.bool)
    rounded[kept_K] = False
    half_KD = w_VD[~rounded].half()
    symbols, steps = q_VD[rounded], step_V[rounded].half()
    raw = symbols.numel() * 6 / 8 + 2 * len(steps) + 2 * half_KD.numel()
    packed = 0
    if symbols.numel():
        laid = symbols.T.contiguous().numpy().tobytes()
        packed += min(CODECS[codec](laid) for codec in ("zstd", "brotli", "range"))
    for halves in (steps, half_KD.T.contiguous()):
        packed += len(brotli_encoded(halves.numpy().tobytes(), 2))
    lost = float(error_V[rounded].sum()) + float((half_KD.float() - w_VD[~rounded]).square().sum())
    return raw, float(packed), lost / float(w_VD.square().sum())


def _told(tables: Mapping[str, Tensor], choices: list[Choice]) -> Result:
    per_row: dict[str, tuple[Tensor, Tensor]] = {}
    correlations: list[float] = []
    null: list[float] = []
    for checkpoint, w_VD in tables.items():
        per_row[checkpoint] = row_entropies(w_VD), w_VD.square().mean(1).sqrt()
        twin_VD = same_norms(w_VD, generator(0, f"embedding_rows {checkpoint}"))
        for found, table_VD in ((correlations, w_VD), (null, twin_VD)):
            norm_V = table_VD.square().sum(1)
            found.append(float(spearmanr(row_entropies(table_VD).numpy(), norm_V.numpy()).statistic))
    entropies = torch.cat([entropy_V for entropy_V, _ in per_row.values()])
    columns = min(w_VD.shape[1] for w_VD in tables.values())

    def mean(grid: str, by: str, share: float, field: str) -> float:
        those = [c for c in choices if (c.grid, c.by, c.share) == (grid, by, share)]
        return float(np.mean([getattr(c, field) for c in those]))

    numbers = {
        "entropy_least": float(entropies.min()),
        "entropy_mean": float(entropies.mean()),
        "entropy_most": float(entropies.max()),
        "entropy_cap": float(np.log2(min(columns, BINS))),
        "correlation_with_norm": float(np.mean(correlations)),
        "correlation_with_norm_null": float(np.mean(null)),
    }
    for key, grid in (("floor", "floor 1/31"), ("free", "no floor")):
        for share in SHARES:
            for by in ("entropy", "norm", "random", "error") if share in (0.1, 0.2) else ("entropy",):
                for field in ("raw", "packed", "squared"):
                    numbers[f"{field}_{key}_{share * 100:.0f}_{by}"] = mean(grid, by, share, field)
    half, tenth, none = (numbers[f"packed_free_{percent}_entropy"] for percent in (100, 10, 0))

    def removed(by: str) -> float:
        """Share of the squared error that a tenth of the rows takes away."""
        return 1 - numbers[f"squared_free_10_{by}"] / numbers["squared_free_0_entropy"]

    for by in ("entropy", "norm", "random", "error"):
        numbers[f"error_removed_10_{by}"] = removed(by)
    raw_half, raw_tenth = numbers["raw_free_100_entropy"], numbers["raw_free_10_entropy"]
    paragraph = (
        f"Rows have {numbers['entropy_least']:.2f} to {numbers['entropy_most']:.2f} bits, mean"
        f" {numbers['entropy_mean']:.2f} (a row of {columns} values has at most {numbers['entropy_cap']:.0f})."
        f" Entropy and norm have rank correlation {numbers['correlation_with_norm']:.3f}, Gaussian rows of the same"
        f" norms {numbers['correlation_with_norm_null']:.3f}."
        f" Six bits for all rows take {none:,.0f} bytes compressed (no floor), half precision for all {half:,.0f}; a"
        f" tenth in half precision takes {tenth:,.0f}, which saves {half - tenth:,.0f} against all in half precision"
        f" ({raw_half - raw_tenth:,.0f} before compression) and costs {tenth - none:,.0f} more than none."
        f" That tenth takes away {removed('entropy'):.0%} of the squared error; as many rows at random"
        f" {removed('random'):.0%}, of largest norm {removed('norm'):.0%}, of largest error {removed('error'):.0%}."
        " With the floor 1/31 the tenth by entropy takes away"
        f" {1 - numbers['squared_floor_10_entropy'] / numbers['squared_floor_0_entropy']:.0%} (at random"
        f" {1 - numbers['squared_floor_10_random'] / numbers['squared_floor_0_entropy']:.0%})."
    )
    choice_rows = tuple((c.checkpoint, c.grid, c.by, c.share, c.raw, c.packed, c.squared) for c in choices)
    choice_columns = (
        *("checkpoint", "grid", "rows_kept_by", "share_kept", "raw_bytes", "packed_bytes", "relative_squared_error"),
    )
    quantiles = (0.0, 0.1, 0.5, 0.9, 1.0)
    row_rows: tuple[tuple[Cell, ...], ...] = tuple(
        (checkpoint, *(float(entropy_V.quantile(q)) for q in quantiles), correlations[i], null[i])
        for i, (checkpoint, (entropy_V, _)) in enumerate(per_row.items())
    )
    row_columns = (
        "checkpoint",
        *(f"entropy_quantile_{q:g}_bits" for q in quantiles),
        *("rank_correlation_with_norm", "null_rank_correlation_with_norm"),
    )
    return Result(
        study="embedding_rows",
        title="Embedding rows in half precision: entropy, bytes and error",
        tables={
            "choices": Table(columns=choice_columns, rows=choice_rows),
            "rows": Table(columns=row_columns, rows=row_rows),
        },
        draw=lambda figure: _draw(figure, per_row, choices),
        paragraph=paragraph,
        null="As many rows chosen at random or by norm; Gaussian rows of the same norms for the entropies.",
        numbers=numbers,
    )


def _draw(figure: Figure, per_row: Mapping[str, tuple[Tensor, Tensor]], choices: list[Choice]) -> None:
    left, right = figure.subplots(1, 2)
    for checkpoint, (entropy_V, size_V) in per_row.items():
        left.scatter(size_V.numpy(), entropy_V.numpy(), s=4, alpha=0.5, label=checkpoint)
    left.set(xlabel="root mean square of the row", ylabel="entropy of its histogram (bits)")
    left.legend(fontsize=7, markerscale=2)
    first = choices[0].checkpoint
    those = [c for c in choices if c.checkpoint == first and c.grid == "no floor" and c.share < 1.0]
    none = [c for c in those if c.share == 0.0]
    for by, marker in (("entropy", "o"), ("norm", "s"), ("error", "^"), ("random", "x")):
        line = [*none, *(c for c in those if c.by == by and c not in none)]
        colour = {"color": MUTED} if by == "random" else {}
        right.plot(
            [c.packed / 1000 for c in line], [c.squared for c in line], marker=marker, label=f"by {by}", **colour
        )
    right.set(xlabel="compressed bytes (thousands)", ylabel="relative squared error")
    right.legend(fontsize=7)
