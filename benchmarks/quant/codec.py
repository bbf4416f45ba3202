"""Seconds and bytes of each codec on the symbols of a full-size model: Gaussian, and with columns that differ.

``gaussian`` has rows of one spread, 31 symbols over the recipe's clip of standard deviations, as rows are whose steps
are their own. ``columns`` gives the columns of each matrix spreads that differ by a log-normal factor of 0.15, about
what MLP down has (recipes D.6 measured that classes gain 0.6 % there). ``--artifact`` adds the symbols of a trained
model. All matrices are coded by the fast codecs and by those of ``--whole``; the others are given the first streams up
to ``--slow-bytes``, and every codec's bytes are told over the order-0 entropy of what it was given, each stream under
its own frequencies. ``classes`` is what a recipe of that codec writes, the least
of several; ``pergroup`` is #1855's order of rows and ZPAQ, by the program lrzip.

    python benchmarks/quant/codec.py --recipe baseline --whole brotli pergroup -o benchmarks/results/codec.json
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from fairway.model.banks import unbank
from fairway.model.parameters import neutral_parameters
from fairway.quant.artifact import read_artifact
from fairway.quant.classes import class_stream, stream_shapes, unclassed
from fairway.quant.codecs import STORED_CODECS, compress, decompress
from fairway.quant.deflate import deflated, inflated
from fairway.quant.grid import largest_symbol
from fairway.quant.packing import StoredTensor
from fairway.quant.pergroup import GROUP_STREAMS, pergrouped, unpergrouped
from fairway.quant.plan import plan
from fairway.quant.streams import raw_streams
from fairway.recipes.load import load_recipe
from fairway.spec.quant import Grid, QuantSpec
from fairway.spec.recipe import Recipe
from fairway.spec.roles import Role

Shapes = list[tuple[int, int]]
FAST = ("range", "classes")
SLOW = ("brotli", "pergroup", "zstd", "lzma", "zlib")

_GRID = Grid(bits=6, clip_sigmas=12.0)
_ANY = QuantSpec(attention=_GRID, mlp=_GRID, embedding=_GRID)
"""Stands for the recipe, where only its codec is asked for."""


def streams(recipe: Recipe, column_spread: float) -> dict[str, tuple[bytes, Shapes]]:
    """Symbols and shapes of each role."""
    with torch.device("meta"):
        state = unbank(neutral_parameters(recipe.model), recipe.model)
    draws = torch.Generator().manual_seed(0)
    found: dict[str, tuple[list[bytes], Shapes]] = {}
    for treatment in plan({name: w.shape for name, w in state.items()}, recipe.quant):
        if not isinstance(treatment.grid, Grid):
            continue
        rows, columns = treatment.shape
        largest = largest_symbol(treatment.grid.bits)
        scale = torch.randn(columns, generator=draws).mul(column_spread).exp()
        w = torch.randn(rows, columns, generator=draws) * scale / scale.square().mean().sqrt()
        symbols = (w * largest / treatment.grid.clip_sigmas).round().clamp(-largest, largest).to(torch.int8)
        pieces, shapes = found.setdefault(treatment.role.value, ([], []))
        pieces.append(symbols.T.contiguous().numpy().tobytes())
        shapes.append((rows, columns))
    return {role: (b"".join(pieces), shapes) for role, (pieces, shapes) in found.items()}


def artifact_streams(path: Path) -> dict[str, tuple[bytes, Shapes]]:
    """Symbols and shapes of each role as an artifact holds them."""
    artifact = read_artifact(path.read_bytes())
    raws = raw_streams(artifact)
    return {name: (raws[name], stream_shapes(artifact.tensors, name)) for name in GROUP_STREAMS if name in raws}


def ways(codec: str, role: str) -> tuple[Callable[[bytes, Shapes], bytes], Callable[[bytes, int, Shapes], bytes]]:
    """To pack and to unpack the stream of a role."""
    quant = replace(_ANY, codec=codec)  # type: ignore[arg-type]
    if codec == "classes":
        return partial(_by_classes, role), partial(_from_classes, quant)
    if codec == "pergroup":
        return (
            lambda raw, shapes: pergrouped(raw, shapes, role),
            lambda payload, size, shapes: unpergrouped(quant, payload, shapes),
        )
    if codec == "zlib":
        return lambda raw, shapes: deflated(raw, 1), lambda payload, size, shapes: inflated(payload, size, 1)
    return (
        lambda raw, shapes: compress(quant, raw, value_bytes=1)[1],
        lambda payload, size, shapes: decompress(quant, codec, payload, raw_size=size, value_bytes=1),  # type: ignore[arg-type]
    )


def _by_classes(role: str, raw: bytes, shapes: Shapes) -> bytes:
    """What the recipe's codec ``classes`` writes, which is the least of several; its name goes first."""
    tensors = [StoredTensor(f"{i}", shape, Role(role), 8) for i, shape in enumerate(shapes)]
    stored = class_stream(tensors, role, raw)
    return bytes([STORED_CODECS.index(stored.codec)]) + stored.payload


def _from_classes(quant: QuantSpec, payload: bytes, size: int, shapes: Shapes) -> bytes:
    codec = STORED_CODECS[payload[0]]
    if codec == "classes":
        return unclassed(quant, payload[1:], shapes)
    return decompress(quant, codec, payload[1:], raw_size=size, value_bytes=1)


def entropy_bytes(raw: bytes) -> float:
    """Of the stream under its own frequencies."""
    counts = torch.frombuffer(bytearray(raw), dtype=torch.uint8).bincount(minlength=256).double()
    return float(torch.special.entr(counts / len(raw)).sum()) / 0.6931471805599453 * len(raw) / 8


def _cpu_s() -> float:
    """Processor seconds of this process and of the programs it has run."""
    return sum(os.times()[:4])


def measured(codec: str, parts: dict[str, tuple[bytes, Shapes]]) -> dict[str, object]:
    """Bytes, seconds to write and to read."""
    size, write_s, read_s = 0, [0.0, 0.0], [0.0, 0.0]
    by_role = {}
    for role, (raw, shapes) in parts.items():
        pack, unpack = ways(codec, role)
        began, cpu = time.perf_counter(), _cpu_s()
        payload = pack(raw, shapes)
        write_s[0] += time.perf_counter() - began
        write_s[1] += _cpu_s() - cpu
        began, cpu = time.perf_counter(), _cpu_s()
        assert unpack(payload, len(raw), shapes) == raw, (codec, role)
        read_s[0] += time.perf_counter() - began
        read_s[1] += _cpu_s() - cpu
        size += len(payload)
        by_role[role] = round(len(payload) / entropy_bytes(raw), 5)
    whole = sum(entropy_bytes(raw) for raw, _ in parts.values())
    return {
        "symbols": sum(len(raw) for raw, _ in parts.values()),
        "bytes": size,
        "over_entropy": round(size / whole, 5),
        "by_role": by_role,
        "write_s": round(write_s[0], 3),
        "write_cpu_s": round(write_s[1], 3),
        "read_s": round(read_s[0], 3),
        "read_cpu_s": round(read_s[1], 3),
    }


def main() -> None:
    """Measure every codec and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="baseline")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--slow-bytes", type=int, default=3_000_000)
    parser.add_argument("--whole", nargs="*", default=[], choices=SLOW)
    parser.add_argument("--without", nargs="*", default=[], choices=SLOW)
    parser.add_argument("--artifact", type=Path, action="append", default=[])
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    recipe = load_recipe(asked.recipe).recipe
    result: dict[str, object] = {
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{platform.machine()}, {os.cpu_count()} cores, {asked.threads} threads",
        "load_average_1min": os.getloadavg()[0],
        "recipe": asked.recipe,
    }
    sets = {"gaussian": partial(streams, recipe, 0.0), "columns": partial(streams, recipe, 0.15)}
    sets |= {f"artifact {path.parent.name}": partial(artifact_streams, path) for path in asked.artifact}
    for name, make in sets.items():
        whole = make()
        first: dict[str, tuple[bytes, Shapes]] = {}
        for role, part in sorted(whole.items(), key=lambda item: len(item[1][0])):
            if sum(len(raw) for raw, _ in first.values()) + len(part[0]) <= asked.slow_bytes:
                first[role] = part
        rows = {codec: measured(codec, whole) for codec in (*FAST, *asked.whole)}
        others = [codec for codec in SLOW if codec not in (*asked.whole, *asked.without)]
        rows |= {codec: measured(codec, first) for codec in others} if first else {}
        result[name] = rows
        for codec, row in rows.items():
            sys.stdout.write(f"{name} {codec}: {row}\n")
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
