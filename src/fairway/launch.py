"""The single file's command line: a whole run, or one stage of it. The bundler calls it at the end of the file.

A whole run takes no options, for the published scripts take none. Of the environment it heeds what those heed:
``SEED``, ``DATA_PATH`` (a folder of shards, or one with ``train`` and ``val`` inside), ``TOKENIZER_PATH``,
``MAX_WALLCLOCK_SECONDS`` and ``RUN_ID``; each that is set is logged. It writes ``logs/<RUN_ID>.txt`` and, into
``logs/<RUN_ID>/``, what the workflow's stages write into the folder of a seed.

A stage is told everything by options, and reads nothing of that from the environment.
"""

import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fairway.errors import FairwayError
from fairway.main import (
    Run,
    calibrate_stage,
    compress_stage,
    evaluate_float_stage,
    evaluate_stage,
    evaluates_alone,
    rotate_gptq_stage,
    train_stage,
)
from fairway.runtime.ranks import close_ranks, first_process, settings
from fairway.score.evaluate import Score
from fairway.spec.recipe import Recipe

OVERRIDES = ("SEED", "DATA_PATH", "TOKENIZER_PATH", "MAX_WALLCLOCK_SECONDS", "RUN_ID")
"""Environment variables that change a whole run."""

STAGE_FILES = {
    "train": ("data",),
    "calibrate": ("data", "checkpoint"),
    "rotate_gptq": ("checkpoint", "hessians"),
    "compress": ("quantized",),
    "float": ("val", "tokenizer", "checkpoint"),
    "evaluate": ("val", "tokenizer", "artifact", "ledger"),
}
"""Stages in the order of a whole run, and the files that each is told of beside its output and its events."""

RUN_FILES = {
    "checkpoint": "model.safetensors",
    "hessians": "hessians.safetensors",
    "quantized": "quantized.safetensors",
    "artifact": "artifact.bin",
    "float": "float.json",
    "score": "score.json",
    "ledger": "ledger.jsonl",
}
"""What a whole run writes into its folder, as the workflow's stages name it; the events beside."""

_LAUNCH_OUTPUTS = ("checkpoint", "hessians", "quantized", "artifact", "float", "score")
_LAUNCH_TOGETHER = ("train", "calibrate")
_LAUNCH_SHARED = ("rotate_gptq", "float", "evaluate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the bundler knows when it writes the file, and the file of itself."""

    recipe: Recipe
    recipe_sha256: str
    forecast_bytes: int
    data: str
    """Where the dataset is looked for unless DATA_PATH says."""
    code_sha256: str
    code_bytes: int

    def run(self, seed: int, echo: Callable[[str], None] | None, recipe: Recipe) -> Run:
        """One seed of the recipe, or of one that differs from it in what the environment may change."""
        return Run(
            recipe=recipe,
            recipe_sha256=self.recipe_sha256,
            forecast_bytes=self.forecast_bytes,
            seed=seed,
            code_sha256=self.code_sha256,
            code_bytes=self.code_bytes,
            echo=echo,
        )


def launch(program: Program, arguments: Sequence[str]) -> int:
    """Run what the command line asks for and return the exit status: 0 done, 2 yours to mend, 3 ours."""
    try:
        given = settings(OVERRIDES)
        asked = _launch_arguments(arguments)
        if asked["stage"] is None:
            _launch_whole(program, given)
        elif first_process() or asked["stage"] in _launch_together(program.recipe):
            run = program.run(asked["seed"], _launch_complain, program.recipe)
            perform(run, asked["stage"], asked)
    except (FairwayError, OSError, MemoryError) as error:
        _launch_complain(f"{Path(sys.argv[0]).name}: {' '.join(str(error).split()) or 'out of memory'}")
        return 2
    finally:
        close_ranks()
    return 0


def perform(run: Run, stage: str, files: Mapping[str, Path]) -> Any:
    """Carry out one stage; ``files`` holds what ``STAGE_FILES`` says, ``output`` and ``events``."""
    output, events = files["output"], files["events"]
    if stage == "train":
        return train_stage(run, files["data"], checkpoint=output, events=events)
    if stage == "calibrate":
        return calibrate_stage(run, files["data"], checkpoint=files["checkpoint"], hessians=output, events=events)
    if stage == "rotate_gptq":
        return rotate_gptq_stage(
            run, checkpoint=files["checkpoint"], hessians=files["hessians"], quantized=output, events=events
        )
    if stage == "compress":
        return compress_stage(run, quantized=files["quantized"], artifact=output, events=events)
    val, tokenizer = files["val"], files["tokenizer"]
    if stage == "float":
        return evaluate_float_stage(run, val, tokenizer, checkpoint=files["checkpoint"], scores=output, events=events)
    return evaluate_stage(
        run, val, tokenizer, artifact=files["artifact"], scores=output, ledger=files["ledger"], events=events
    )


def _launch_complain(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _launch_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Options by name: pairs of ``--name value``, each a file but ``stage`` and ``seed``."""
    asked = dict(zip((word.lstrip("-") for word in arguments[::2]), arguments[1::2], strict=False))
    if "o" in asked:
        asked["output"] = asked.pop("o")
    stage = asked.get("stage")
    wanted = {"stage", "seed", "output", "events", *STAGE_FILES[stage]} if stage in STAGE_FILES else set()
    if asked.keys() != wanted or len(arguments) != 2 * len(wanted):
        options = " ".join(f"--{name}" for name in sorted(wanted))
        raise FairwayError(
            f"stage {stage} takes {options}, no more and no less"
            if wanted
            else f"the whole run takes no options, --stage is one of {', '.join(STAGE_FILES)}"
        )
    seed = _launch_number(int, asked.pop("seed", 0), "--seed must be a whole number")
    return {**{name: Path(value) for name, value in asked.items()}, "stage": stage, "seed": seed}


def _launch_whole(program: Program, given: dict[str, str]) -> None:
    recipe = program.recipe
    seed = _launch_number(int, given.get("SEED", recipe.seeds[0]), "SEED must be a whole number")
    if "MAX_WALLCLOCK_SECONDS" in given:
        limit = "MAX_WALLCLOCK_SECONDS must be a number of seconds"
        budget_s = _launch_number(float, given["MAX_WALLCLOCK_SECONDS"], limit)
        if not recipe.train.reserve_s < budget_s < math.inf:
            raise FairwayError(f"{limit} above {recipe.train.reserve_s} (kept for calibration), got {budget_s}")
        recipe = replace(recipe, train=replace(recipe.train, budget_s=budget_s))
    name = given.get("RUN_ID", f"{recipe.name}_seed{seed}")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise FairwayError(f"RUN_ID must be a plain name, for a folder gets it, got {name!r}")
    folder, data = Path("logs", name), Path(given.get("DATA_PATH", program.data))
    files = run_files(folder, data, Path(given.get("TOKENIZER_PATH", data / "tokenizer.model")))
    folder.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.txt" if first_process() else os.devnull).open("w", encoding="utf-8") as log:

        def echo(line: str) -> None:
            for file in (sys.stdout, log) if first_process() else ():
                file.write(f"{line}\n")
                file.flush()

        echo(f"code sha256:{program.code_sha256} size_bytes:{program.code_bytes}")
        echo(f"recipe:{recipe.name} sha256:{program.recipe_sha256}\nseed:{seed}")
        for key, value in given.items():
            echo(f"environment {key}:{value}")
        run_whole(program.run(seed, echo, recipe), files, echo)


def _launch_together(recipe: Recipe) -> tuple[str, ...]:
    """Stages that all ranks take part in."""
    return _LAUNCH_TOGETHER if evaluates_alone(recipe) else (*_LAUNCH_TOGETHER, *_LAUNCH_SHARED)


def run_files(folder: Path, data: Path, tokenizer: Path) -> dict[str, Path]:
    """Every file of a whole run that keeps its own in ``folder``; shards lie in ``data`` or in folders inside it."""
    shards = {key: data / key if (data / key).is_dir() else data for key in ("train", "val")}
    own = {key: folder / file for key, file in RUN_FILES.items()}
    return {**own, "data": shards["train"], "val": shards["val"], "tokenizer": tokenizer}


def run_whole(run: Run, files: Mapping[str, Path], echo: Callable[[str], None]) -> None:
    """Every stage in order, with the lines by which published logs are read.

    Ranks but the first leave a stage out that has no use for them, and go home when there is none that has.
    """
    together = _launch_together(run.recipe)
    for stage, output in zip(STAGE_FILES, _LAUNCH_OUTPUTS, strict=True):
        if stage not in together:
            if "evaluate" not in together:
                close_ranks()
            if not first_process():
                continue
        events = files[output].with_name(f"{stage}.events.jsonl")
        result = perform(run, stage, {**files, "output": files[output], "events": events})
        if stage == "train" and result.reason == "clock":
            echo(f"stopping_early: wallclock_cap train_time: {1000 * result.train_s:.0f}ms step: {result.steps}")
        elif stage == "compress":
            codec = f"quantized+{run.recipe.quant.codec}"
            echo(f"Code size: {run.code_bytes} bytes\nSerialized model {codec}: {result} bytes")
            echo(f"Total submission size {codec}: {run.code_bytes + result} bytes")
        elif stage == "float":
            echo(_launch_score("pre-quantization post-ema", result))
        elif stage == "evaluate":
            echo(_launch_score("quantized", result[0]))
            echo(_launch_score(f"final_{result[1].method}_exact", result[1]))


def _launch_score(label: str, score: Score) -> str:
    milliseconds = round(1000 * score.seconds)
    return f"{label} val_loss:{score.loss_nats:.8f} val_bpb:{score.bpb:.8f} eval_time:{milliseconds}ms"


def _launch_number(kind: type[int] | type[float], text: object, message: str) -> Any:
    try:
        return kind(str(text))
    except ValueError as error:
        raise FairwayError(f"{message}, got {text!r}") from error
