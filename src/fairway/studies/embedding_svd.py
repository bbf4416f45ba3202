"""How much of the token embedding few directions hold (PR #212, finding 25; PR #1048).

Ranks 16, 32, 64, 128 and 256 of #1048's 1024 x 512 table hold 20.6, 29, 41.9, 60.6 and 83.3 % of its energy. Beside it
stand a Gaussian table of the same shape, and one whose rows have the same lengths and random directions: rows of
different lengths alone concentrate nothing. What a rank is good for is told in bytes: two rounded factors against the
rounded table, at the error that the rank leaves.
"""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from fairway.errors import DataError
from fairway.records.style import MUTED, seed_colour
from fairway.studies.chance import gaussian, mean, source
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.result import Cell, Result, Table
from fairway.studies.transport import direct, direct_at, factored

_SHARES = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
"""Ranks 16 to 256 of 512."""
_CLAIMED = (20.6, 29.0, 41.9, 60.6, 83.3)
_CLAIMED_SHAPE = (1024, 512)


def study(inputs: Inputs) -> Result:
    """Tables ``energy``, ``bytes`` and ``claims``; ``Needs`` where a checkpoint has no embedding."""
    tables_VD = []
    for checkpoint in inputs.checkpoints:
        if "embedding" not in checkpoint.state:
            raise Needs(f"study embedding_svd needs a token embedding, and {checkpoint.path} has none")
        tables_VD.append(checkpoint.state["embedding"])
    shapes = {tuple(table.shape) for table in tables_VD}
    if len(shapes) > 1 or tables_VD[0].ndim != 2:
        raise DataError(f"study embedding_svd needs tables of one shape, got {sorted(shapes)}")
    draw = source("embedding_svd")
    names = [checkpoint.name for checkpoint in inputs.checkpoints]
    vocab, width = tables_VD[0].shape
    mine = [_energies(table) for table in tables_VD]
    centred = [_energies(table - table.mean(0)) for table in tables_VD]
    noise = _energies(gaussian(vocab, width, draw))
    lengths = _energies(_same_lengths(tables_VD[0], draw))
    rows: list[tuple[Cell, ...]] = []
    for share in _SHARES:
        rank = max(1, round(share * width))
        rows.append(
            (
                *(rank, mean(_held(each, rank) for each in mine), min(_held(each, rank) for each in mine)),
                *(max(_held(each, rank) for each in mine), mean(_held(each, rank) for each in centred)),
                *(_held(lengths, rank), _held(noise, rank)),
            )
        )
    columns = (
        *("rank", "energy_share", "energy_share_least", "energy_share_most", "energy_share_centred"),
        *("energy_share_random_directions", "energy_share_gaussian"),
    )
    tables = {
        "energy": Table(columns=columns, rows=tuple(rows)),
        "bytes": _byte_table(tables_VD[0]),
        "claims": _claim_table(draw),
    }
    numbers = {f"energy.{row[0]}": float(row[1]) for row in rows} | {
        f"energy_gaussian.{row[0]}": float(row[-1]) for row in rows
    }
    first = [_held(each, 1) for each in mine]
    numbers |= {"first_direction_least": min(first), "first_direction_most": max(first)}
    numbers |= {"mean_row_share": mean(_mean_share(table) for table in tables_VD)}
    return Result(
        study="embedding_svd",
        title="Directions of the token embedding",
        tables=tables,
        draw=lambda figure: _draw(figure, names, mine, noise, lengths),
        paragraph=_paragraph(tables, numbers),
        null=(
            "a Gaussian table of the same shape, and one whose rows have the measured lengths and random directions;"
            " the claims stand beside a Gaussian table of their own shape."
        ),
        numbers=numbers,
        inches=(7.0, 4.2),
    )


def _energies(table_VD: Tensor) -> Tensor:
    return torch.linalg.svdvals(table_VD).square()


def _held(energies_K: Tensor, rank: int) -> float:
    return float(energies_K[:rank].sum() / energies_K.sum())


def _mean_share(table_VD: Tensor) -> float:
    """Share of the energy that the mean row holds, which every row repeats."""
    return float(len(table_VD) * table_VD.mean(0).square().sum() / table_VD.square().sum())


def _same_lengths(table_VD: Tensor, draw: torch.Generator) -> Tensor:
    random_VD = gaussian(table_VD.shape[0], table_VD.shape[1], draw)
    return random_VD * (table_VD.norm(dim=1) / random_VD.norm(dim=1))[:, None]


def _byte_table(table_VD: Tensor) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for share in _SHARES:
        rank = max(1, round(share * table_VD.shape[1]))
        small = factored(table_VD, rank)
        whole = direct_at([table_VD], small.error)
        rows.append((rank, small.size_bytes, small.error, whole.size_bytes, whole.error))
    plain = direct([table_VD])
    rows.append((table_VD.shape[1], plain.size_bytes, plain.error, plain.size_bytes, plain.error))
    columns = ("rank", "factors_bytes", "factors_error_share", "table_as_lossy_bytes", "table_as_lossy_error_share")
    return Table(columns=columns, rows=tuple(rows))


def _claim_table(draw: torch.Generator) -> Table:
    noise = _energies(gaussian(*_CLAIMED_SHAPE, draw))
    ranks = [round(share * _CLAIMED_SHAPE[1]) for share in _SHARES]
    rows = tuple((rank, said / 100, _held(noise, rank)) for rank, said in zip(ranks, _CLAIMED, strict=True))
    return Table(columns=("rank", "claimed_energy_share", "gaussian_energy_share"), rows=rows)


def _paragraph(tables: dict[str, Table], numbers: dict[str, float]) -> str:
    quarter, half = tables["energy"].rows[-2], tables["energy"].rows[-1]
    small = tables["bytes"].rows[-2]
    return (
        f"{quarter[0]} directions hold {quarter[1]:.1%} of the embedding's energy ({quarter[-1]:.1%} of a Gaussian"
        f" table's), {half[0]} hold {half[1]:.1%} ({half[-1]:.1%}). The mean row alone, which every token shares, holds"
        f" {numbers['mean_row_share']:.1%}; the first direction {numbers['first_direction_least']:.1%} to"
        f" {numbers['first_direction_most']:.1%}. Two rounded factors of rank {small[0]} take {small[1]:,} bytes and"
        f" lose {small[2]:.1%}; the table itself, rounded until it loses as much, takes {small[3]:,}."
    )


def _draw(figure: Figure, names: Sequence[str], mine: Sequence[Tensor], noise: Tensor, lengths: Tensor) -> None:
    axes = figure.subplots()
    for i, (name, energies) in enumerate(zip(names, mine, strict=True)):
        axes.plot(_curve(energies), color=seed_colour(i), lw=1.4, label=name)
    axes.plot(_curve(lengths), ":", color=MUTED, lw=1.6, label="same lengths of rows, random directions")
    axes.plot(_curve(noise), "--", color=MUTED, lw=1.2, label="Gaussian")
    axes.set_xlabel("rank")
    axes.set_ylabel("share of the energy")
    axes.set_ylim(0, 1)
    axes.legend(loc="lower right")


def _curve(energies_K: Tensor) -> Tensor:
    return torch.cat([torch.zeros(1), energies_K.cumsum(0) / energies_K.sum()])
