"""Symmetric, banded and circulant parts of Q, K, V and O, and symmetry forced after training (PR #1214).

PR #1214 found O of layers 6 to 8 symmetric to machine precision and their Q to 99.5 %, all other matrices random. Half
of the energy of a Gaussian matrix is symmetric, exactly (n + 1) / 2n; what else a share must be held against is its
subspace's dimension. Non-square K and V are read as square pieces. Since a head may choose any basis between Q and K,
W = W^T of Q alone has no meaning for the model: the symmetry of Q^T K and of O V does, and is told beside it. Runs
that logged it (``train.symmetry_every``) show whether it emerges.
"""

import math
from collections.abc import Sequence

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from fairway.records.style import MUTED, ROLE_COLOURS
from fairway.runtime.events import read_events
from fairway.spec.roles import role_of
from fairway.studies.alignment import product_values
from fairway.studies.chance import mean, source, spread
from fairway.studies.checkpoint import Checkpoint
from fairway.studies.forced import force
from fairway.studies.inputs import Inputs, Needs
from fairway.studies.result import Cell, Result, Table
from fairway.studies.scoring import opening_text
from fairway.studies.subspaces import (
    KINDS,
    Chance,
    by_chance,
    product_symmetry,
    product_symmetry_by_chance,
    shares,
    squares,
)

_PARTS = ("q", "k", "v", "o")
_DRAWS, _QUICK_DRAWS = 20, 4
_TOKENS, _QUICK_TOKENS = 8_000, 600
_BAND_SHARE = 1 / 16
"""Half the width of the band, as a share of the matrix's."""
_BLOCKS = 4
"""Blocks on the diagonal where no recipe tells the number of heads."""


def study(inputs: Inputs) -> Result:
    """Tables ``layers``, ``null``, ``claims``; ``products`` by a recipe, ``forced`` by data, ``training`` by logs."""
    draws = _QUICK_DRAWS if inputs.quick else _DRAWS
    blocks = inputs.recipe.model.heads if inputs.recipe is not None else _BLOCKS
    found = _found(inputs.checkpoints, blocks)
    tables = {
        "layers": _layer_table(found, blocks),
        "null": _null_table(found, blocks, draws),
        "claims": _claim_table(),
    }
    products = _product_table(inputs)
    tables |= {"products": products} if products.rows else {}
    forced = _forced_table(inputs)
    tables |= {"forced": forced} if forced.rows else {}
    training = _training_table(inputs)
    tables |= {"training": training} if training.rows else {}
    numbers = _numbers(tables)
    return Result(
        study="symmetry",
        title="Symmetric parts of the attention matrices",
        tables=tables,
        draw=lambda figure: _draw(figure, found, training),
        paragraph=_paragraph(numbers, tables),
        null=(
            "a Gaussian matrix, whose share in a subspace of d of n^2 dimensions is distributed as"
            " Beta(d/2, (n^2 - d)/2), and samples of it; for what forcing costs, a symmetry up to random signs."
        ),
        numbers=numbers,
        inches=(9.0, 4.0),
    )


_Place = tuple[str, int]
_Found = dict[_Place, list[tuple[tuple[int, int], dict[str, float]]]]
"""Side and number of the square pieces, and the shares, of every checkpoint's matrix."""


def _sizes(side: int, blocks: int) -> dict[str, int]:
    return {"block": max(1, side // blocks), "band": max(1, round(side * _BAND_SHARE))}


def _found(checkpoints: Sequence[Checkpoint], blocks: int) -> _Found:
    found: _Found = {}
    for part in _PARTS:
        for checkpoint in checkpoints:
            for layer in range(checkpoint.layers):
                if not checkpoint.has(layer, part):
                    continue
                pieces = squares(checkpoint.matrix(layer, part))
                side = pieces.shape[-1]
                measured = shares(pieces, **_sizes(side, blocks))
                found.setdefault((part, layer), []).append(((side, len(pieces)), measured))
    if not found:
        raise Needs("study symmetry needs Q, K, V or O matrices that are no product of factors")
    return found


def _chance(size: tuple[int, int], blocks: int) -> dict[str, Chance]:
    return dict(by_chance(*size, **_sizes(size[0], blocks)))


def _layer_table(found: _Found, blocks: int) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for (part, layer), each in sorted(found.items(), key=lambda item: (_PARTS.index(item[0][0]), item[0][1])):
        size = each[0][0]
        chance = _chance(size, blocks)
        values = {kind: [measured[kind] for _, measured in each] for kind in KINDS}
        farthest = max(values["symmetric"], key=lambda value: abs(value - chance["symmetric"].mean))
        rows.append(
            (
                *(part, layer, f"{size[1]} of {size[0]}x{size[0]}", len(each)),
                *(mean(values["symmetric"]), chance["symmetric"].mean, farthest),
                (farthest - chance["symmetric"].mean) / chance["symmetric"].deviation,
                *(mean(values[kind]) for kind in KINDS[1:]),
            )
        )
    columns = (
        *("part", "layer", "pieces", "checkpoints", "symmetric_share", "symmetric_gaussian", "symmetric_farthest"),
        *("farthest_in_deviations", *(f"{kind}_share" for kind in KINDS[1:])),
    )
    return Table(columns=columns, rows=tuple(rows))


def _null_table(found: _Found, blocks: int, draws: int) -> Table:
    """Mean over all layers beside the law and samples of the null model."""
    draw = source("symmetry")
    rows: list[tuple[Cell, ...]] = []
    for part in dict.fromkeys(part for part, _ in found):
        every = [each for (other, _), found_here in found.items() if other == part for each in found_here]
        side, pieces = every[0][0]
        sampled = [
            shares(torch.randn(pieces, side, side, generator=draw), **_sizes(side, blocks)) for _ in range(draws)
        ]
        for kind, chance in _chance((side, pieces), blocks).items():
            values = [measured[kind] for _, measured in every]
            rows.append(
                (
                    *(part, kind, len(values), mean(values), min(values), max(values), chance.mean, chance.deviation),
                    *(mean(each[kind] for each in sampled), spread([each[kind] for each in sampled])),
                )
            )
    columns = (
        *("part", "kind", "matrices", "share", "share_least", "share_most", "gaussian_share", "gaussian_deviation"),
        *("sampled_share", "sampled_deviation"),
    )
    return Table(columns=columns, rows=tuple(rows))


def _claim_table() -> Table:
    """PR #1214's shares of 512 x 512 matrices against the law; and what a decayed antisymmetric part comes to."""
    chance = by_chance(512, 1, block=64, band=32)["symmetric"]
    claims = {
        "Q of layers 6 to 8": 0.9955,
        "O of layers 6 to 8": 0.999998,
        "the least other": 0.4995,
        "the largest other": 0.5026,
    }
    rows = tuple(
        (what, said, chance.mean, chance.deviation, (said - chance.mean) / chance.deviation)
        for what, said in claims.items()
    )
    columns = ("matrix", "claimed_share", "gaussian_share", "gaussian_deviation", "claimed_in_deviations")
    return Table(columns=columns, rows=rows)


def _product_table(inputs: Inputs) -> Table:
    """Every head's Q^T K and O V; by chance, with their own singular values and vectors drawn evenly."""
    draw = source("symmetry products")
    columns = (
        *("layer", "product", "heads", "symmetric_share", "symmetric_least", "symmetric_most"),
        *("chance_share", "chance_deviation", "mean_in_deviations"),
    )
    recipe = inputs.recipe
    if recipe is None:
        return Table(columns=columns, rows=())
    width = recipe.model.width
    expected = (1 + 1 / width) / 2
    rows: list[tuple[Cell, ...]] = []
    for name in ("qk", "ov"):
        for layer in range(inputs.checkpoints[0].layers):
            pairs = [
                pair
                for checkpoint in inputs.checkpoints
                for pair in _products(checkpoint, layer, recipe.model.heads, recipe.model.kv_heads)[name]
            ]
            found = [product_symmetry(a_DK @ b_DK.T) for a_DK, b_DK in pairs]
            chance = [product_symmetry_by_chance(product_values(*pair), width, draw) for pair in pairs]
            deviation = spread(chance)
            rows.append(
                (
                    *(layer, name, len(found), mean(found), min(found), max(found), expected, deviation),
                    (mean(found) - expected) / (deviation / math.sqrt(len(found))),
                )
            )
    return Table(columns=columns, rows=tuple(rows))


_Pairs = list[tuple[Tensor, Tensor]]


def _products(checkpoint: Checkpoint, layer: int, heads: int, groups: int) -> dict[str, _Pairs]:
    q, k, v, o = (checkpoint.matrix(layer, part) for part in _PARTS)
    width = len(q) // heads
    found: dict[str, _Pairs] = {"qk": [], "ov": []}
    for head in range(heads):
        group = head * groups // heads
        mine, shared = slice(head * width, (head + 1) * width), slice(group * width, (group + 1) * width)
        found["qk"].append((q[mine].T, k[shared].T))
        found["ov"].append((o[:, mine], v[shared].T))
    return found


def _forced_table(inputs: Inputs) -> Table:
    """None, the last third and all layers of every checkpoint."""
    columns = (
        *("checkpoint", "layers", "float_bpb", "rounded_bpb", "random_sign_bpb"),
        *("artifact_bytes", "artifact_bytes_by_triangles", "saved_bytes"),
    )
    recipe = inputs.recipe
    if recipe is None or inputs.val is None or inputs.tokenizer is None or recipe.model.q_rank:
        return Table(columns=columns, rows=())
    draw = source("symmetry forced")
    text = opening_text(inputs, recipe, _QUICK_TOKENS if inputs.quick else _TOKENS)
    every = tuple(range(recipe.model.layers))
    rows: list[tuple[Cell, ...]] = []
    for checkpoint in inputs.checkpoints:
        plain_bytes = math.nan
        for layers in ((), every[-math.ceil(len(every) / 3) :], every):
            found = force(recipe, checkpoint.state, layers, text, draw)
            plain_bytes = plain_bytes if layers else found.whole_bytes
            inputs.progress(f"symmetry: {checkpoint.name}, {len(layers)} layers forced: {found.float_bpb:.4f} bpb")
            rows.append(
                (
                    *(checkpoint.name, ",".join(map(str, layers)) or "none"),
                    *(found.float_bpb, found.rounded_bpb, found.random_sign_bpb),
                    *(found.whole_bytes, found.triangle_bytes, int(plain_bytes) - found.triangle_bytes),
                )
            )
    return Table(columns=columns, rows=tuple(rows))


def _training_table(inputs: Inputs) -> Table:
    """What a run logged while it trained; Q of every layer, then O."""
    rows: list[tuple[Cell, ...]] = []
    for i, checkpoint in enumerate(inputs.checkpoints):
        path = inputs.run_file(i, "train.events.jsonl")
        for event in [] if path is None else read_events(path):
            if event["event"] != "symmetry":
                continue
            logged = event["shares"]
            parts = ("q", "o") if len(logged) == 2 * checkpoint.layers else ("o",)
            for place, share in enumerate(logged):
                rows.append(
                    (
                        *(checkpoint.name, event["step"], parts[place // checkpoint.layers]),
                        *(place % checkpoint.layers, share),
                    )
                )
    return Table(columns=("checkpoint", "step", "part", "layer", "symmetric_share"), rows=tuple(rows))


def _numbers(tables: dict[str, Table]) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for part, kind, count, value, least, most, expected, deviation, *_ in tables["null"].rows:
        numbers[f"{part}.{kind}"], numbers[f"{part}.{kind}.gaussian"] = float(value), float(expected)
        numbers[f"{part}.{kind}.least"], numbers[f"{part}.{kind}.most"] = float(least), float(most)
        numbers[f"{part}.{kind}.deviation"] = float(deviation)
        if kind in ("block", "band", "circulant", "trace"):
            error = float(deviation) / math.sqrt(float(count))
            numbers[f"{part}.{kind}.mean_in_deviations"] = (float(value) - float(expected)) / error
    numbers["farthest_in_deviations"] = max(
        (float(cell) for cell in tables["layers"].column("farthest_in_deviations")), key=abs
    )
    if "products" in tables:
        table = tables["products"]
        for product in ("qk", "ov"):
            chosen = [row for row in table.rows if row[1] == product]
            numbers[f"{product}.symmetric"] = mean(float(row[3]) for row in chosen)
            numbers[f"{product}.by_chance"] = float(chosen[0][6])
            together = sum(float(row[8]) for row in chosen) / math.sqrt(len(chosen))
            numbers[f"{product}.mean_in_deviations"] = together
    if "forced" in tables:
        table = tables["forced"]
        by_layers: dict[Cell, list[tuple[Cell, ...]]] = {}
        for row in table.rows:
            by_layers.setdefault(row[1], []).append(row)
        (_, none), *others = by_layers.items()
        for (_, group), key in zip(others, ("third", "all"), strict=False):
            for column, name in ((2, "float"), (3, "rounded"), (4, "random_sign")):
                numbers[f"forced.{key}.{name}_bpb"] = mean(
                    float(row[column]) - float(plain[column]) for row, plain in zip(group, none, strict=True)
                )
            numbers[f"forced.{key}.saved_bytes"] = mean(float(row[7]) for row in group)
    if "training" in tables:
        table = tables["training"]
        last = {row[0]: row[1] for row in table.rows}
        final = [float(row[4]) for row in table.rows if row[1] == last[row[0]]]
        numbers["training.most_at_the_end"] = max(final)
        numbers["training.least_at_the_end"] = min(final)
    return numbers


def _paragraph(numbers: dict[str, float], tables: dict[str, Table]) -> str:
    parts = [part for part in _PARTS if f"{part}.symmetric" in numbers]
    ranges = ", ".join(
        f"{part} {numbers[f'{part}.symmetric.least']:.4f} to {numbers[f'{part}.symmetric.most']:.4f}"
        f" (noise {numbers[f'{part}.symmetric.gaussian']:.4f} +- {numbers[f'{part}.symmetric.deviation']:.4f})"
        for part in parts
    )
    words = [
        f"The symmetric part holds of {ranges};"
        f" the farthest matrix is {numbers['farthest_in_deviations']:+.1f} standard deviations from noise."
    ]
    odd = {key: value for key, value in numbers.items() if key.endswith(".mean_in_deviations") and key.count(".") == 2}
    widest = max(odd, key=lambda key: abs(odd[key])).removesuffix(".mean_in_deviations")
    words.append(
        f"Of block, band, circulant and trace, {widest.replace('.', ' ')} is farthest from noise: {numbers[widest]:.3%}"
        f" of the energy against {numbers[f'{widest}.gaussian']:.3%}, {odd[f'{widest}.mean_in_deviations']:+.1f}"
        " deviations of the mean."
    )
    if "qk.symmetric" in numbers:
        words.append(
            f"Of a head's Q^T K, which no choice of basis moves, the symmetric part is {numbers['qk.symmetric']:.4f} on"
            f" average where chance has {numbers['qk.by_chance']:.4f} ({numbers['qk.mean_in_deviations']:+.1f}"
            f" deviations of the mean), of O V {numbers['ov.symmetric']:.4f} ({numbers['ov.mean_in_deviations']:+.1f})."
        )
    for key, told in (("third", "the last third of the layers"), ("all", "all layers")):
        if f"forced.{key}.float_bpb" in numbers:
            words.append(
                f"Made symmetric in {told}, Q and O cost {numbers[f'forced.{key}.float_bpb']:+.4f} bpb"
                f" ({numbers[f'forced.{key}.random_sign_bpb']:+.4f} with random signs) and save"
                f" {numbers[f'forced.{key}.saved_bytes']:,.0f} bytes as triangles."
            )
    if "training.most_at_the_end" in numbers:
        words.append(
            f"At the end of the logged runs the shares lie between {numbers['training.least_at_the_end']:.4f} and"
            f" {numbers['training.most_at_the_end']:.4f}."
        )
    return " ".join(words)


def _draw(figure: Figure, found: _Found, training: Table) -> None:
    panels = figure.subplots(1, 2 if training.rows else 1, squeeze=False)[0]
    axes = panels[0]
    parts = [part for part in _PARTS if any(other == part for other, _ in found)]
    for shift, part in enumerate(parts):
        colour = ROLE_COLOURS[role_of(f"blocks.0.{part}").value]
        places = [
            (layer + 0.16 * (shift - (len(parts) - 1) / 2), measured["symmetric"])
            for (other, layer), each in found.items()
            if other == part
            for _, measured in each
        ]
        axes.plot(*zip(*places, strict=True), "o", ms=4, color=colour, label=part)
    for side, pieces in sorted({each[0][0] for each in found.values()}):
        chance = by_chance(side, pieces, block=1, band=1)["symmetric"]
        for end in (-2, 2):
            label = f"noise of {pieces} x {side}x{side}, two deviations" if end > 0 else None
            line = "--" if pieces == 1 else ":"
            axes.axhline(chance.mean + end * chance.deviation, color=MUTED, lw=1, ls=line, label=label)
    axes.set_xlabel("layer")
    axes.set_ylabel("symmetric share of the energy")
    axes.set_xticks(sorted({layer for _, layer in found}))
    figure.legend(*axes.get_legend_handles_labels(), ncols=6, loc="outside lower center")
    if training.rows:
        _draw_training(panels[1], training)


def _draw_training(axes: Axes, training: Table) -> None:
    lines: dict[tuple[Cell, ...], list[tuple[float, float]]] = {}
    for name, step, part, layer, share in training.rows:
        lines.setdefault((name, part, layer), []).append((float(step), float(share)))
    for (_, part, _), points in lines.items():
        colour = ROLE_COLOURS[role_of(f"blocks.0.{part}").value]
        axes.plot(*zip(*points, strict=True), color=colour, lw=0.8)
    axes.axhline(0.5, color=MUTED, lw=1, ls="--")
    axes.set_xlabel("step")
    axes.set_title("while training")
