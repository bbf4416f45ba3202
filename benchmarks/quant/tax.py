"""What rounding costs trained checkpoints, in bits per byte: scalar and trellis, by hand and by rates, in equal bytes.

Of every seed's checkpoint under RUNS the float score, flat and by the recipe's method, and then the same two scores of
artifacts: written, read back, and scored as the evaluate stage does it. A tax is the difference to the float score of
the same kind. Rows, at the recipe's own steps, and flat alone at twice those:

    scalar                  the recipe's grids
    trellis, equal steps    half the step and one bit more: the even symbols are the scalar grid
    trellis, equal bytes    all steps of the trellis by one factor, so that the artifact has the scalar one's bytes
    scalar, rates           one Lagrangian, the scalar artifact's bytes (``quant.rates``)
    trellis, rates          the same on paths, the tied table scalar: it wants steps finer than paths have in a byte

Each finished row is kept in OUT.jsonl; called again after a stop, the benchmark goes on.

    python benchmarks/quant/tax.py --recipe pocket-scalar --runs results/pocket --data data/FOLDER -o OUT.json
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measure import Row, device_words, report

from fairway.main import Run, restore_artifact, restore_checkpoint, training_batches, validation
from fairway.model.gpt import Gpt
from fairway.quant.grid import largest_symbol
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq
from fairway.quant.rates import rounded_to_fit
from fairway.quant.sensitivity import row_sensitivities
from fairway.recipes.load import load_recipe
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.score.evaluate import evaluate
from fairway.spec.model import Loops
from fairway.spec.quant import Grid, Lagrangian, QuantSpec, TrellisGrid

TOLERANCE_BYTES = 400
"""By which files of equal bytes may differ."""
CODE_BYTES = 32_000
TRIES = 8
ROWS = ("float", "scalar", "trellis of equal steps", "trellis of equal bytes", "scalar by rates", "trellis by rates")
ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))


@dataclass(frozen=True)
class Asked:
    """What one process works at."""

    recipe: str
    runs: Path
    data: Path
    seed: int
    states: int
    engine: Literal["torch", "compiled"]
    journal: Path


@dataclass(frozen=True)
class Subject:
    """One checkpoint, what was measured on it, and how it is scored."""

    run: Run
    model: Gpt
    gathered: dict[str, Tensor]
    validation: tuple[Tensor, Tensor]

    def scored(self, model: Gpt, *, adapted: bool) -> dict[str, float]:
        """Bits per byte, flat and, ``adapted``, by the recipe's method."""
        spec, (tokens_N, bytes_N) = self.run.recipe.score, self.validation
        methods = {"flat": spec.diagnostic, "final": spec.method} if adapted else {"flat": spec.diagnostic}
        return {
            name: evaluate(
                model,
                tokens_N,
                bytes_N,
                spec,
                method,
                seed=self.run.seed,
                looped=isinstance(self.run.recipe.model.loops, Loops),
                ledger_path=None,
                events=EventLog(None, stage="benchmark"),
                name=name,
                artifact_sha256="0" * 64,
                ranks=ALONE,
            ).bpb
            for name, method in methods.items()
        }

    def packed(self, quant: QuantSpec) -> bytes:
        """The artifact at these steps, or at those that fill the file where ``rates`` say so."""
        extra = {"recipe_sha256": self.run.recipe_sha256, "seed": self.run.seed}
        if isinstance(quant.rates, Lagrangian):
            return pack(rounded_to_fit(self.model, self.gathered, quant, quant.rates, extra), quant, extra)
        return pack(rotate_gptq(self.model, self.gathered, quant), quant, extra)

    def restored(self, data: bytes, quant: QuantSpec) -> Gpt:
        """What the evaluate stage would score."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "artifact.bin"
            path.write_bytes(data)
            run = replace(self.run, recipe=replace(self.run.recipe, quant=quant))
            return restore_artifact(run, path, torch.device("cpu"))


def subject_of(asked: Asked) -> Subject:
    """The checkpoint with its Hessians and sensitivities, from the recipe's calibration batches."""
    recipe = load_recipe(asked.recipe).recipe
    run = Run(recipe=recipe, recipe_sha256="0" * 64, forecast_bytes=0, seed=asked.seed, code_sha256="", code_bytes=0)
    model = restore_checkpoint(run, asked.runs / f"seed{asked.seed}" / "model.safetensors", torch.device("cpu"))
    looped, count = isinstance(recipe.model.loops, Loops), recipe.train.calibration_batches
    train = asked.data / "train"
    gathered = collect(model, training_batches(recipe, train, ALONE), count, ALONE, looped=looped)
    gathered |= row_sensitivities(model, training_batches(recipe, train, ALONE), count, ALONE, looped=looped)
    model.requires_grad_(False)
    return Subject(run, model, gathered, validation(run, asked.data / "val", asked.data / "tokenizer.model"))


def scaled(quant: QuantSpec, change: Callable[[Any], Grid | TrellisGrid]) -> QuantSpec:
    """All three grids changed."""
    attention, mlp, embedding = map(change, (quant.attention, quant.mlp, quant.embedding))
    return replace(quant, attention=attention, mlp=mlp, embedding=embedding)


def wider(quant: QuantSpec, factor: float) -> QuantSpec:
    """Steps so many times as wide."""
    return scaled(quant, lambda grid: replace(grid, clip_sigmas=grid.clip_sigmas * factor))


def reaching(grid: Grid | TrellisGrid) -> Grid | TrellisGrid:
    """The same step with all the bits there are."""
    return replace(grid, bits=8, clip_sigmas=grid.clip_sigmas * largest_symbol(8) / largest_symbol(grid.bits))


def on_paths(quant: QuantSpec, asked: Asked) -> QuantSpec:
    """Half the step: of the even symbols it is the scalar one. Where a byte has no bit more, rows clip earlier."""

    def path(grid: Grid | TrellisGrid) -> TrellisGrid:
        bits = min(8, grid.bits + 1)
        clip = grid.clip_sigmas * largest_symbol(bits) / (2 * largest_symbol(grid.bits))
        return TrellisGrid(bits=bits, clip_sigmas=clip, states=asked.states, engine=asked.engine)

    return scaled(quant, path)


def of_equal_bytes(subject: Subject, quant: QuantSpec, wanted: int) -> tuple[bytes, QuantSpec]:
    """All steps by one factor, until the file has the wanted bytes, within the tolerance (secants)."""
    factor = 1.0
    slope: float | None = None
    before: tuple[float, int] | None = None
    for _ in range(TRIES):
        found = wider(quant, factor)
        data = subject.packed(found)
        if abs(len(data) - wanted) <= TOLERANCE_BYTES:
            return data, found
        if before is not None and before[0] != factor:
            slope = (len(data) - before[1]) / (factor - before[0])
        before = factor, len(data)
        # a bit a weight for each octave, until two sizes are known
        factor += (wanted - len(data)) / (slope or -len(data) / 2.5)
    raise SystemExit(f"no factor of the steps gives {wanted} bytes within {TOLERANCE_BYTES} in {TRIES} tries")


def artifacts(subject: Subject, asked: Asked, factor: float, done: set[str]) -> Iterator[tuple[str, bytes, QuantSpec]]:
    """Each row's name, file and grids at so many times the recipe's steps, but for rows that are done."""
    own = subject.run.recipe.quant
    scalar = wider(own, factor)
    data = subject.packed(scalar)
    paths = on_paths(scalar, asked)
    rates = Lagrangian(cap_bytes=len(data) + CODE_BYTES, code_bytes=CODE_BYTES, tolerance_bytes=2 * TOLERANCE_BYTES)
    # the recipe's steps with all the bits there are, for rates may ask for finer ones
    by_rates = replace(scaled(own, reaching), rates=rates)
    mixed = replace(scaled(on_paths(own, asked), reaching), embedding=by_rates.embedding, rates=rates)
    made: dict[str, Callable[[], tuple[bytes, QuantSpec]]] = {
        f"scalar, {factor:g}": lambda: (data, scalar),
        f"trellis of equal steps, {factor:g}": lambda: (subject.packed(paths), paths),
        f"trellis of equal bytes, {factor:g}": lambda: of_equal_bytes(subject, paths, len(data)),
        f"scalar by rates, {factor:g}": lambda: (subject.packed(by_rates), by_rates),
        f"trellis by rates, {factor:g}": lambda: (subject.packed(mixed), mixed),
    }
    for what, make in made.items():
        if what not in done:
            yield what, *make()


def rows_of(asked: Asked) -> None:
    """Every row of one seed, into the journal."""
    torch.set_num_threads(1)
    subject = subject_of(asked)
    known = {row["what"]: row for row in journal(asked.journal) if row["seed"] == asked.seed}
    if "float" not in known:
        known["float"] = {"what": "float", "seed": asked.seed, **subject.scored(subject.model, adapted=True)}
        note(asked.journal, known["float"])
    plain = known["float"]
    for factor in (1.0, 2.0):
        began = time.perf_counter()
        for what, data, quant in artifacts(subject, asked, factor, set(known)):
            rounded = time.perf_counter() - began
            scores = subject.scored(subject.restored(data, quant), adapted=factor == 1.0)
            taxes = {f"{name}_tax": score - plain[name] for name, score in scores.items()}
            note(
                asked.journal,
                {"what": what, "seed": asked.seed, "bytes": len(data), **scores, **taxes, "round_s": rounded},
            )
            began = time.perf_counter()


def journal(path: Path) -> list[Row]:
    """Rows that are finished."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def place_of(row: Row) -> tuple[str, int, int]:
    """By steps, kind and seed, whichever was finished first."""
    kind, _, factor = row["what"].partition(", ")
    return factor, ROWS.index(kind), row["seed"]


def note(path: Path, row: Row) -> None:
    """One line, at once, whoever else writes."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def summary(rows: list[Row]) -> list[Row]:
    """Means over seeds, and each tax over that of the scalar row of the same steps."""
    names = list(dict.fromkeys(row["what"] for row in rows))
    found: list[Row] = []
    for what in names:
        own = [row for row in rows if row["what"] == what]
        keys = [key for key in own[0] if key not in ("what", "seed")]
        found.append({"what": what, **{key: statistics.fmean(row[key] for row in own) for key in keys}})
    base = {row["what"]: row for row in found}
    for row in found:
        scalar = base.get(f"scalar, {row['what'].rpartition(' ')[2]}")
        for name in ("flat_tax", "final_tax"):
            if scalar is not None and name in row:
                row[f"{name}_ratio"] = row[name] / scalar[name]
        if scalar is not None:
            row["bytes_ratio"] = row["bytes"] / scalar["bytes"]
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="pocket-scalar")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--states", type=int, default=64)
    parser.add_argument("--engine", default="compiled", choices=("torch", "compiled"))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    seeds = sorted(int(path.parent.name[4:]) for path in asked.runs.glob("seed*/model.safetensors"))
    if not seeds:
        raise SystemExit(f"{asked.runs} must hold seedN/model.safetensors of finished runs; it holds none")
    kept = asked.output.with_suffix(".jsonl")
    works = [Asked(asked.recipe, asked.runs, asked.data, seed, asked.states, asked.engine, kept) for seed in seeds]
    with get_context("spawn").Pool(asked.processes) as pool:
        pool.map(rows_of, works, chunksize=1)
    rows = sorted(journal(kept), key=place_of)
    report(f"tax of rounding {asked.recipe}, each seed", rows, "", unit="bpb", output=None)
    report(
        f"tax of rounding {asked.recipe}",
        summary(rows),
        device_words(torch.device("cpu"), 1),
        unit="bpb",
        output=asked.output,
        recipe=asked.recipe,
        states=asked.states,
        seeds=seeds,
        each=rows,
    )


if __name__ == "__main__":
    main()
