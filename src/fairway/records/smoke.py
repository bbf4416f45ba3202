"""A recipe's whole pipeline in small: bundle, train, calibrate, round, compress, evaluate, judge.

The program that runs is the single file of the reduced recipe, in the form that people read, for the packed form takes
longer to make than the run. It is alone: fairway is not there for it. The judge then reads the folder as it reads
that of any seed.
"""

import json
import math
import platform
import resource
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fairway.bundle.build import build_readable
from fairway.bundle.compare import run_alone
from fairway.errors import FairwayError
from fairway.fetch.dataset import fetch_dataset
from fairway.launch import RUN_FILES
from fairway.model.parameters import parameter_count
from fairway.recipes.load import load_recipe, write_resolved
from fairway.recipes.locate import dataset_name
from fairway.recipes.reduce import resolved_small
from fairway.records.submission import invalidity
from fairway.runtime.files import write_text_atomic
from fairway.spec.model import Loops
from fairway.spec.optim import EmaAverage
from fairway.spec.quant import OwnText
from fairway.spec.recipe import Recipe
from fairway.spec.train import LateReplay, LateRounding
from fairway.verify.facts import CODE
from fairway.verify.run import verify_seed
from fairway.verify.tracks import find_track, load_track

Events = Mapping[str, Sequence[Mapping[str, Any]]]
"""What each stage logged."""

_STAGES = ("train", "calibrate", "rotate_gptq", "compress", "float", "evaluate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Smoked:
    """What a recipe's run in small left."""

    name: str
    recipe_sha256: str
    """Of the recipe as its file says it, not of the reduced one."""
    parameters: int
    """Of the reduced model."""
    steps: int
    loss_first: float
    """Training loss in nats of the first step, before the weights moved."""
    loss_last: float
    bpb_float: float
    bpb_quantized: float
    bpb_final: float
    """By the recipe's method of evaluation, adaptation included."""
    artifact_bytes: int
    seconds: float
    cpu_s: float
    """Processor seconds of all its processes, which other work on the machine hardly changes."""
    device: str
    torch: str
    date: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A recipe that did not come through, and why."""

    name: str
    reason: str
    """One line."""


def prepare_data(names: Sequence[str], folder: Path) -> Iterator[Failed]:
    """Make each dataset that the reduced recipes read, once; yields the recipes that have none, and why."""
    reasons: dict[str, str] = {}
    for name in names:
        try:
            spec = resolved_small(load_recipe(name).recipe).recipe.data
        except (FairwayError, ValueError) as error:
            yield Failed(label(name), _line(error))
            continue
        place = dataset_name(spec)
        if place not in reasons:
            try:
                fetch_dataset(spec, folder / place)
                reasons[place] = ""
            except FairwayError as error:
                reasons[place] = _line(error)
        if reasons[place]:
            yield Failed(label(name), reasons[place])


def label(name_or_path: str) -> str:
    """The name of a recipe that is given by its name or by its path."""
    return Path(name_or_path).name.removesuffix(".toml")


def smoke(name: str, folder: Path, data: Path) -> Smoked | Failed:
    """Run one recipe in small, its files under ``folder/<name>``, on a dataset under ``data``.

    Whatever goes wrong is this recipe's failure, a defect of fairway included: others are to run after it.
    """
    began, cpu_began = time.perf_counter(), _cpu_s()
    try:
        done = _run(name, folder / label(name), data)
    except Exception as error:  # noqa: BLE001 - see above; the last frame says where to look
        at = "" if isinstance(error, FairwayError) else f" ({_place(error)})"
        return Failed(label(name), f"{_line(error)}{at}")
    return replace(done, seconds=round(time.perf_counter() - began, 2), cpu_s=round(_cpu_s() - cpu_began, 2))


def write_smoked(path: Path, outcomes: Sequence[Smoked | Failed]) -> None:
    """Write what came through, as ``fairway recipe list`` reads it; of recipes that were not run, the old lines stay.

    A recipe that failed loses its line.
    """
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for outcome in outcomes:
        before.pop(outcome.name, None)
        if isinstance(outcome, Smoked):
            before[outcome.name] = {key: value for key, value in asdict(outcome).items() if key != "name"}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, json.dumps(dict(sorted(before.items())), indent=1) + "\n")


def _run(name: str, folder: Path, data: Path) -> Smoked:
    whole = load_recipe(name)
    small = resolved_small(whole.recipe)
    recipe, seed = small.recipe, small.recipe.seeds[0]
    dataset = data / dataset_name(recipe.data)
    folder.mkdir(parents=True, exist_ok=True)
    write_resolved(small, folder / "recipe.json")
    code = folder / CODE
    write_text_atomic(code, build_readable(small))
    run_alone(code, {"DATA_PATH": str(dataset.resolve()), "SEED": str(seed), "RUN_ID": f"seed{seed}"})
    run = folder / "logs" / f"seed{seed}"
    events = {stage: _read_lines(run / f"{stage}.events.jsonl") for stage in _STAGES}
    _demand_mechanisms(recipe, events)
    steps = [event for event in events["train"] if event["event"] == "step"]
    first, last = steps[0]["loss_nats"], steps[-1]["loss_nats"]
    if not last < first:
        raise FairwayError(f"nothing was learned: loss {first:.4f} in the first step, {last:.4f} in the last")
    quantized, final = _scores(run / RUN_FILES["score"])
    (unrounded,) = _scores(run / RUN_FILES["float"])
    _demand_verdict(run, recipe, folder / "recipe.json", dataset, code)
    return Smoked(
        name=whole.recipe.name,
        recipe_sha256=whole.sha256,
        parameters=parameter_count(recipe.model),
        steps=len(steps),
        loss_first=first,
        loss_last=last,
        bpb_float=unrounded,
        bpb_quantized=quantized,
        bpb_final=final,
        artifact_bytes=(run / RUN_FILES["artifact"]).stat().st_size,
        seconds=0.0,
        cpu_s=0.0,
        device=f"{platform.machine()} cpu",
        torch=torch.__version__,
        date=datetime.now(UTC).date().isoformat(),
    )


def _demand_mechanisms(recipe: Recipe, events: Events) -> None:
    """Refuse a run in which something that switches on late never did, its steps being so few."""
    traces = (
        ("model.loops", isinstance(recipe.model.loops, Loops), "train", "loops_on"),
        ("train.rounding", isinstance(recipe.train.rounding, LateRounding), "train", "rounding_on"),
        ("train.replay", isinstance(recipe.train.replay, LateReplay), "train", "replay"),
        ("optim.averaging", not isinstance(recipe.optim.averaging, EmaAverage), "train", "average"),
        ("quant.calibration", isinstance(recipe.quant.calibration, OwnText), "calibrate", "own_text"),
    )
    for what, wanted, stage, name in traces:
        found = [event for event in events[stage] if event["event"] == name]
        idle = [event for event in found if event.get("steps", 1) == 0 or event.get("snapshots", 1) == 0]
        if wanted and (not found or idle):
            raise FairwayError(f"{what} never acted: stage {stage} logged no {name} that did anything")


_UNFAIR = frozenset({"fair-method", "scored-before-learned"})
"""Rules that a recipe marked as invalid must fail, and no others."""


def _demand_verdict(run: Path, recipe: Recipe, resolved: Path, dataset: Path, code: Path) -> None:
    track = load_track(find_track(recipe.track, [Path.cwd(), Path(__file__)]))
    verdict = verify_seed(run, track, recipe=resolved, data=dataset, code=code)
    due = _UNFAIR if invalidity(recipe) else frozenset()
    for finding in verdict.findings:
        if finding.verdict != ("FAIL" if finding.rule in due else "PASS"):
            raise FairwayError(f"judged {finding.verdict} by {finding.rule}: {finding.message}")


def _scores(path: Path) -> list[float]:
    scores = [score["bpb"] for score in json.loads(path.read_text(encoding="utf-8"))["scores"]]
    if not all(math.isfinite(score) for score in scores):
        raise FairwayError(f"{path}: scores must be finite, got {scores}")
    return scores


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _cpu_s() -> float:
    """Processor seconds so far, of this process and of those that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, FairwayError) else f"{type(error).__name__}: {text}"


def _place(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"
