"""Rotations between layers and between seeds, low-rank rotations, transport compression (PR #1048, findings 1 to 3).

PR #1048 took a reduction of 90 % by a rotation for a shared structure. Two matrices that share nothing are laid onto
each other as well when the rotation has more freedom than the target: 91.7 % for Gaussian matrices of 512 x 1536. So
each number stands beside that of Gaussian matrices, and of matrices with the same singular values and random singular
vectors. What seeds do share is asked otherwise: by a rotation that is fitted on half of the token embeddings and tried
on the other half, and carried from the embeddings to what the matrices read and write.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from matplotlib.figure import Figure
from torch import Tensor

from fairway.records.style import MUTED, seed_colour
from fairway.studies.alignment import Alignment, Factors, align, align_by_chance, factors, low_rank, permuted, rotation
from fairway.studies.chance import gaussian, haar, mean, source, spread
from fairway.studies.checkpoint import Checkpoint
from fairway.studies.inputs import Inputs
from fairway.studies.result import Cell, Result, Table
from fairway.studies.transport import direct, direct_at, gaussian_like, transported

_RANK_SHARES = (1 / 96, 1 / 24, 1 / 12)
"""Ranks 16, 64 and 128 of 1536."""
_DRAWS, _QUICK_DRAWS = 5, 2
_CLAIM_DRAWS = 2
_CLAIMS = (
    ("MLP down between layers", (512, 1536), 0.91, 0.93),
    ("K between layers", (256, 512), 0.75, 0.83),
    ("V between layers", (256, 512), 0.76, 0.82),
    ("Q between layers", (512, 512), 0.69, 0.73),
    ("O between layers", (512, 512), 0.68, 0.70),
    ("MLP up between layers", (1536, 512), 0.47, 0.47),
    ("MLP down between seeds", (512, 1536), 0.90, 0.90),
)
"""Part, shape, and the least and largest reduction that PR #1048 reports."""
_CLAIMED_RANKS = {16: (0.021, 0.018), 64: (0.083, 0.076), 128: (0.166, 0.151)}
"""Rank to its energy of R - I and its reduction."""
_PAIRS = 30
_PERMUTED_PAIRS = 6


@dataclass(frozen=True, slots=True)
class _Pair:
    part: str
    kind: str
    a: Factors
    b: Factors


def study(inputs: Inputs) -> Result:
    """Tables ``alignment``, ``rank``, ``transport`` and, of two checkpoints and more, ``embedding`` and ``carried``."""
    draws = _QUICK_DRAWS if inputs.quick else _DRAWS
    factored = [_factored(checkpoint) for checkpoint in inputs.checkpoints]
    pairs = [*_layer_pairs(factored), *_seed_pairs(factored)]
    inputs.progress(f"procrustes: {len(pairs)} pairs of matrices")
    alignment = _alignment_table(pairs, draws)
    tables = {
        "alignment": alignment,
        "rank": _rank_table(pairs, draws),
        "transport": _transport_table(inputs.checkpoints[0]),
    }
    if not inputs.quick:
        tables["claims"] = _claim_table()
    if len(inputs.checkpoints) > 1 and all("embedding" in each.state for each in inputs.checkpoints):
        tables["embedding"] = _embedding_table(inputs.checkpoints)
        tables["carried"] = _carried_table(inputs.checkpoints, factored)
    numbers = _numbers(tables)
    return Result(
        study="procrustes",
        title="Rotations between layers and between seeds",
        tables=tables,
        draw=lambda figure: _draw(figure, alignment),
        paragraph=_paragraph(numbers),
        null=(
            "two independent Gaussian matrices of the same shape; and two matrices with the measured singular values"
            " and singular vectors drawn evenly (Haar), which share nothing either."
        ),
        numbers=numbers,
        inches=(9.0, 4.2),
    )


def _factored(checkpoint: Checkpoint) -> dict[tuple[int, str], Factors]:
    places = ((layer, part) for part in checkpoint.parts for layer in range(checkpoint.layers))
    return {place: factors(checkpoint.matrix(*place)) for place in places if checkpoint.has(*place)}


def _layer_pairs(factored: Sequence[dict[tuple[int, str], Factors]]) -> Iterator[_Pair]:
    for matrices in factored:
        for (i, part), (j, other) in combinations(matrices, 2):
            if part == other and matrices[i, part].w_OI.shape == matrices[j, part].w_OI.shape:
                yield _Pair(part, "layers", matrices[i, part], matrices[j, part])


def _seed_pairs(factored: Sequence[dict[tuple[int, str], Factors]]) -> Iterator[_Pair]:
    for one, two in combinations(factored, 2):
        for place in one:
            if place in two and one[place].w_OI.shape == two[place].w_OI.shape:
                yield _Pair(place[1], "seeds", one[place], two[place])


def _grouped(pairs: Sequence[_Pair]) -> dict[tuple[str, str], list[_Pair]]:
    groups: dict[tuple[str, str], list[_Pair]] = defaultdict(list)
    for pair in pairs:
        groups[pair.kind, pair.part].append(pair)
    return {key: _spaced(group, _PAIRS) for key, group in groups.items()}


def _spaced(pairs: list[_Pair], most: int) -> list[_Pair]:
    """So many of the pairs, evenly from the first to the last: eleven layers of three seeds make 165 of each part."""
    return [pairs[i * len(pairs) // most] for i in range(most)] if len(pairs) > most else pairs


def _alignment_table(pairs: Sequence[_Pair], draws: int) -> Table:
    draw = source("procrustes")
    by_shape: dict[tuple[int, ...], list[Alignment]] = {}
    rows: list[tuple[Cell, ...]] = []
    for (kind, part), group in _grouped(pairs).items():
        outputs, inputs = group[0].a.w_OI.shape
        if (outputs, inputs) not in by_shape:
            made = [[factors(gaussian(outputs, inputs, draw)) for _ in range(2)] for _ in range(draws)]
            by_shape[outputs, inputs] = [align(*two) for two in made]
        noise = by_shape[outputs, inputs]
        found = [align(pair.a, pair.b) for pair in group]
        chance = [align_by_chance(pair.a, pair.b, draw) for pair in group]
        few = group[:_PERMUTED_PAIRS]
        ordered = mean(permuted(pair.a.w_OI, pair.b.w_OI) for pair in few)
        noise_ordered = mean(
            permuted(gaussian(outputs, inputs, draw), gaussian(outputs, inputs, draw)) for _ in range(draws)
        )
        right = [each.right for each in found]
        by_chance = [each.right for each in chance]
        rows.append(
            (
                *(kind, part, f"{outputs}x{inputs}", len(group)),
                mean(each.cosine for each in found),
                *(mean(right), spread(right), mean(by_chance), spread(by_chance), mean(e.right for e in noise)),
                *(mean(e.left for e in found), mean(e.left for e in chance), mean(e.left for e in noise)),
                *(ordered, noise_ordered),
            )
        )
    columns = (
        *("between", "part", "shape", "pairs", "cosine"),
        *("right_reduction", "right_sd", "right_same_spectrum", "right_same_spectrum_sd", "right_gaussian"),
        *("left_reduction", "left_same_spectrum", "left_gaussian", "order_reduction", "order_gaussian"),
    )
    return Table(columns=columns, rows=tuple(rows))


def _rank_table(pairs: Sequence[_Pair], draws: int) -> Table:
    draw = source("procrustes ranks")
    rows: list[tuple[Cell, ...]] = []
    for (kind, part), group in _grouped(pairs).items():
        if kind != "layers":
            continue
        pair = group[len(group) // 2]
        outputs, inputs = pair.a.w_OI.shape
        ranks = [max(1, round(share * inputs)) for share in _RANK_SHARES]
        found = low_rank(pair.a.w_OI, pair.b.w_OI, ranks)
        noise = [
            low_rank(gaussian(outputs, inputs, draw), gaussian(outputs, inputs, draw), ranks)
            for _ in range(min(draws, 2))
        ]
        for i, rank in enumerate(ranks):
            rows.append(
                (
                    *(part, f"{outputs}x{inputs}", rank, found[i].energy, mean(each[i].energy for each in noise)),
                    *(found[i].reduction, mean(each[i].reduction for each in noise)),
                )
            )
    columns = ("part", "shape", "rank", "energy_of_R_minus_I", "energy_gaussian", "reduction", "reduction_gaussian")
    return Table(columns=columns, rows=tuple(rows))


def _transport_table(checkpoint: Checkpoint) -> Table:
    draw = source("procrustes transport")
    rows: list[tuple[Cell, ...]] = []
    for part in checkpoint.parts:
        matrices = [checkpoint.matrix(i, part) for i in range(checkpoint.layers) if checkpoint.has(i, part)]
        if len({w.shape for w in matrices}) != 1 or len(matrices) < 2:
            continue
        plain, noise = direct(matrices), transported(gaussian_like(matrices, draw), "right")
        right, left = (transported(matrices, side) for side in ("right", "left"))
        coarse = direct_at(matrices, min(right.error, left.error))
        rows.append(
            (
                *(part, len(matrices), plain.size_bytes, plain.error, right.size_bytes, right.error),
                *(left.size_bytes, left.error, coarse.size_bytes, coarse.error, noise.size_bytes, noise.error),
            )
        )
    columns = (
        *("part", "matrices", "direct_bytes", "direct_error_share", "right_bytes", "right_error_share"),
        *("left_bytes", "left_error_share", "direct_as_lossy_bytes", "direct_as_lossy_error_share"),
        *("gaussian_right_bytes", "gaussian_right_error_share"),
    )
    return Table(columns=columns, rows=tuple(rows))


def _claim_table() -> Table:
    """What PR #1048 reports, beside two Gaussian matrices of its shapes."""
    draw = source("procrustes claims")
    rows: list[tuple[Cell, ...]] = []
    for what, shape, low, high in _CLAIMS:
        noise = [align(*(factors(gaussian(*shape, draw)) for _ in range(2))).right for _ in range(_CLAIM_DRAWS)]
        rows.append((what, f"{shape[0]}x{shape[1]}", low, high, min(noise), max(noise)))
    rank_shape = (512, 1536)
    two = [gaussian(*rank_shape, draw) for _ in range(2)]
    found = low_rank(two[0], two[1], list(_CLAIMED_RANKS))
    for (rank, (energy, gain)), noise_here in zip(_CLAIMED_RANKS.items(), found, strict=True):
        for what, said, value in (
            ("energy of R - I", energy, noise_here.energy),
            ("reduction", gain, noise_here.reduction),
        ):
            rows.append((f"{what} at rank {rank}", "512x1536", said, said, value, value))
    columns = ("measure", "shape", "claimed_least", "claimed_most", "gaussian_least", "gaussian_most")
    return Table(columns=columns, rows=tuple(rows))


def _centred(table_VD: Tensor) -> Tensor:
    return table_VD - table_VD.mean(0)


def _embedding_table(checkpoints: Sequence[Checkpoint]) -> Table:
    """Fit on the tokens of even number, try on those of odd number; by chance, the fit pairs tokens at random."""
    draw = source("procrustes embedding")
    rows: list[tuple[Cell, ...]] = []
    for one, two in combinations(checkpoints, 2):
        a, b = (_centred(each.state["embedding"]) for each in (one, two))
        if a.shape != b.shape:
            continue
        shuffled = b[torch.randperm(len(b), generator=draw)]
        deeper = _halves(_without_first(a), _without_first(b))
        rows.append((f"{one.name} to {two.name}", *_halves(a, b), *deeper, *_halves(a, shuffled)))
    columns = (
        *("pair", "fitted_reduction", "held_out_reduction", "fitted_without_first", "held_out_without_first"),
        *("fitted_shuffled", "held_out_shuffled"),
    )
    return Table(columns=columns, rows=tuple(rows))


def _without_first(table_VD: Tensor) -> Tensor:
    """Without its first direction, which alone may be what two tables share."""
    direction_D = torch.linalg.svd(table_VD, full_matrices=False)[2][0]
    return table_VD - torch.outer(table_VD @ direction_D, direction_D)


def _halves(a_VD: Tensor, b_VD: Tensor) -> tuple[float, float]:
    turn_DD = rotation(a_VD[::2], b_VD[::2])
    return _reduced(a_VD[::2], b_VD[::2], turn_DD), _reduced(a_VD[1::2], b_VD[1::2], turn_DD)


def _reduced(a: Tensor, b: Tensor, turn_DD: Tensor) -> float:
    return 1 - float((a @ turn_DD - b).square().sum() / (a - b).square().sum())


def _carried_table(checkpoints: Sequence[Checkpoint], factored: Sequence[dict[tuple[int, str], Factors]]) -> Table:
    """Cosine between the Gram matrices of the residual side, one of them turned as the embeddings ask."""
    draw = source("procrustes carried")
    found, chance = defaultdict(list), defaultdict(list)
    for (one, in_one), (two, in_two) in combinations(zip(checkpoints, factored, strict=True), 2):
        a, b = (_centred(each.state["embedding"]) for each in (one, two))
        if a.shape != b.shape:
            continue
        turn_DD = rotation(a, b)
        random_DD = haar(a.shape[1], a.shape[1], draw)
        for (layer, part), mine in in_one.items():
            other = in_two.get((layer, part))
            if other is None or part in ("q_in", "q_out"):
                continue
            grams = [_gram(each.w_OI, part) for each in (mine, other)]
            found[part].append(_cosine(turn_DD.T @ grams[0] @ turn_DD, grams[1]))
            chance[part].append(_cosine(random_DD.T @ grams[0] @ random_DD, grams[1]))
    rows = tuple(
        (part, len(found[part]), mean(found[part]), mean(chance[part]), spread(chance[part])) for part in found
    )
    return Table(columns=("part", "pairs", "gram_cosine", "gram_cosine_haar", "gram_cosine_haar_sd"), rows=rows)


def _gram(w_OI: Tensor, part: str) -> Tensor:
    """Of the side that faces the residual stream, without its trace."""
    gram = w_OI @ w_OI.T if part in ("o", "down") else w_OI.T @ w_OI
    return gram - torch.eye(len(gram)) * gram.trace() / len(gram)


def _cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.norm() * b.norm()))


def _numbers(tables: dict[str, Table]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    table = tables["alignment"]
    places = {name: i for i, name in enumerate(table.columns)}
    for row in table.rows:
        key = f"{row[0]}.{row[1]}"
        for column in ("cosine", "right_reduction", "right_same_spectrum", "right_gaussian", "left_reduction"):
            numbers[f"{key}.{column}"] = float(row[places[column]])
        for side in ("right", "left"):
            over = float(row[places[f"{side}_reduction"]]) - float(row[places[f"{side}_same_spectrum"]])
            numbers[f"{key}.{side}_excess"] = over
    transport = tables["transport"]
    for name in ("direct_bytes", "right_bytes", "left_bytes", "direct_as_lossy_bytes"):
        numbers[f"transport.{name}"] = sum(float(cell) for cell in transport.column(name))
    numbers["transport.right_over_direct"] = numbers["transport.right_bytes"] / numbers["transport.direct_bytes"]
    if "embedding" in tables:
        for name in ("fitted_reduction", "held_out_reduction", "held_out_without_first", "held_out_shuffled"):
            numbers[f"embedding.{name}"] = mean(float(cell) for cell in tables["embedding"].column(name))
        for part, _, cosine, chance, _ in tables["carried"].rows:
            numbers[f"carried.{part}"] = float(cosine)
            numbers[f"carried_haar.{part}"] = float(chance)
    ranks = tables["rank"]
    for part, _, rank, energy, noise, *_ in ranks.rows:
        numbers[f"rank.{part}.{rank}"], numbers[f"rank_gaussian.{part}.{rank}"] = float(energy), float(noise)
    return numbers


def _paragraph(numbers: dict[str, float]) -> str:
    words = []
    for kind, told in (("layers", "layers of one seed"), ("seeds", "one layer of two seeds")):
        keys = [key for key in numbers if key.startswith(f"{kind}.") and key.endswith(".right_reduction")]
        if not keys:
            continue
        top = max(keys, key=lambda key: numbers[key])
        start = top.removesuffix("right_reduction")
        words.append(
            f"Between {told} a rotation takes away {numbers[top]:.1%} of the squared distance of {top.split('.')[1]};"
            f" of matrices that share nothing but their singular values it takes"
            f" {numbers[start + 'right_same_spectrum']:.1%}, of Gaussian ones {numbers[start + 'right_gaussian']:.1%}."
        )
    for side, told in (("right", "Over all parts"), ("left", "For rotations of the outputs")):
        excesses = {key: value for key, value in numbers.items() if key.endswith(f".{side}_excess")}
        if excesses:
            largest = max(excesses, key=lambda key: abs(excesses[key]))
            kind, part, _ = largest.split(".")
            words.append(
                f"{told} the measured reduction is farthest from that of the same singular values at {part} between"
                f" {kind}: {100 * excesses[largest]:+.1f} points."
            )
    ratio = numbers["transport.right_bytes"] / max(1.0, numbers["transport.direct_bytes"])
    words.append(
        f"A prototype and rotations take {ratio:.2f} times the bytes of the matrices themselves"
        f" ({numbers['transport.right_bytes']:,.0f} and {numbers['transport.direct_bytes']:,.0f}); stored as lossily"
        f" as the rotations leave them, the matrices take {numbers['transport.direct_as_lossy_bytes']:,.0f}."
    )
    if "embedding.held_out_reduction" in numbers:
        words.append(
            f"A rotation between the token embeddings of two seeds, fitted on half of the tokens, takes"
            f" {numbers['embedding.fitted_reduction']:.1%} there and {numbers['embedding.held_out_reduction']:.1%} of"
            f" the other half's distance ({numbers['embedding.held_out_without_first']:.1%} without each table's first"
            f" direction, {numbers['embedding.held_out_shuffled']:.1%} if tokens are paired at random)."
        )
    return " ".join(words)


def _draw(figure: Figure, table: Table) -> None:
    kinds = list(dict.fromkeys(table.column("between")))
    places = {name: i for i, name in enumerate(table.columns)}
    for axes, kind in zip(figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0], kinds, strict=True):
        rows = [row for row in table.rows if row[0] == kind]
        for x, row in enumerate(rows):
            axes.bar(x, row[places["right_reduction"]], width=0.6, color=seed_colour(0), zorder=2)
            axes.plot(x, row[places["right_same_spectrum"]], "_", ms=26, mew=2.2, color=seed_colour(1), zorder=3)
            axes.plot(x, row[places["right_gaussian"]], "_", ms=26, mew=1.2, color=MUTED, zorder=3)
        axes.set_xticks(range(len(rows)), [str(row[1]) for row in rows])
        axes.set_ylim(0, 1)
        axes.set_title(f"between {kind}")
    axes = figure.axes[0]
    axes.set_ylabel("reduction of the squared distance")
    marks = [
        axes.plot([], [], "s", color=seed_colour(0), label="measured")[0],
        axes.plot([], [], "_", ms=14, mew=2.2, color=seed_colour(1), label="same singular values, random vectors")[0],
        axes.plot([], [], "_", ms=14, mew=1.2, color=MUTED, label="Gaussian")[0],
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=3)
