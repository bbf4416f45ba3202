"""``fairway doctor``: whether this machine is able to reproduce a recipe."""

import json
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fairway.cli.console import echo
from fairway.errors import DataError
from fairway.fetch.dataset import read_manifest, verify_dataset
from fairway.machine.doctor import (
    Check,
    Pace,
    able,
    check_cards,
    check_compiler,
    check_cores,
    check_disk,
    check_memory,
    check_pace,
    check_packages,
    check_walls,
    pace_of,
    read_events,
)
from fairway.machine.environment import describe_environment
from fairway.machine.sandbox import find_walls
from fairway.main import Run, train_stage
from fairway.model.parameters import parameter_count
from fairway.quant.forecast import forecast
from fairway.recipes.load import Resolved, load_recipe, read_resolved
from fairway.recipes.locate import dataset_name
from fairway.records.code import package_code
from fairway.spec.data import HubCorpus
from fairway.spec.model import Loops
from fairway.spec.recipe import Recipe
from fairway.verify.tracks import find_track

_STYLES = {"ok": "green", "look": "yellow", "no": "bold red", "unknown": "dim"}
_SHARD_BYTES = 200_000_000
_PROBE_STEPS = 20


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What the newest record of the recipe tells."""

    folder: Path
    environment: Mapping[str, Any] | None
    pace: Pace
    peak_bytes: int | None


def command(
    name: Annotated[str, typer.Argument(help="A recipe's name, or its resolved recipe.json.", metavar="RECIPE")],
    data: Annotated[Path | None, typer.Option(help="The dataset; the workflow's if absent.")] = None,
    probe: Annotated[bool, typer.Option(help="Train for 20 steps to forecast the seconds of a run.")] = True,
) -> None:
    """Tell whether this machine can reproduce a recipe, a line for each thing it needs.

    Exit status: 0 if nothing stands against a run, 1 otherwise.
    """
    resolved = read_resolved(Path(name)) if name.endswith(".json") else load_recipe(name)
    recipe, root = resolved.recipe, Path.cwd()
    recorded = _recorded(root, resolved)
    environment = describe_environment(root)
    folder = data or Path("data", dataset_name(recipe.data))
    track = tomllib.loads(find_track(recipe.track, [root, Path(__file__)]).read_text(encoding="utf-8"))
    hardware = track.get("hardware", {"device": None, "world": 0})
    checks = [
        check_cards(environment, hardware["device"], hardware["world"]),
        check_cores(environment, recipe.train.threads),
        check_memory(environment, recorded.peak_bytes if recorded else None),
        check_disk(folder, _needed_bytes(recipe, folder)),
        check_packages(environment, root, recorded.environment if recorded else None),
        check_compiler(environment, needed=bool(recipe.train.compile)),
        check_walls(find_walls()),
        _data(folder),
    ]
    if probe and checks[-1].state == "ok":
        checks.append(_pace(resolved, folder, recorded))
    _print(recipe.name, recorded, checks)
    raise typer.Exit(0 if able(checks) else 1)


def _print(name: str, recorded: _Recorded | None, checks: list[Check]) -> None:
    title = f"{name}, against {recorded.folder.name}" if recorded else f"{name}, of which there is no record here"
    table = Table("what", "", "here", "wanted", title=title)
    for check in checks:
        table.add_row(check.what, f"[{_STYLES[check.state]}]{check.state}", check.found, check.wanted)
    Console().print(table)


def _recorded(root: Path, resolved: Resolved) -> _Recorded | None:
    """The newest record of the same recipe, told by its digest."""
    for path in sorted(root.glob("records/*/*/recipe.json"), key=lambda each: each.parent.name, reverse=True):
        try:
            if json.loads(path.read_text(encoding="utf-8")).get("sha256") != resolved.sha256:
                continue
            events = [read_events(each) for each in sorted(path.parent.glob("seed*/events.jsonl"))]
            told = path.parent / "environment.json"
            environment = json.loads(told.read_text(encoding="utf-8"))["environments"][0] if told.is_file() else None
        except (OSError, ValueError, LookupError) as error:
            raise DataError(f"{path.parent}: no whole record: {error}") from error
        peaks = [event["peak_bytes"] for one in events for event in one if event["event"] == "done"]
        return _Recorded(path.parent, environment, pace_of(events[0]), max(peaks, default=None))
    return None


def _needed_bytes(recipe: Recipe, folder: Path) -> int:
    """What is still to be fetched, and what the runs of all seeds leave: weights, Hessians, rounded weights."""
    fetched = 0
    if not (folder / "manifest.json").is_file():
        corpus = recipe.data.corpus
        fetched = (corpus.train_shards + 2) * _SHARD_BYTES if isinstance(corpus, HubCorpus) else 50_000_000
    return fetched + 16 * parameter_count(recipe.model) * len(recipe.seeds)


def _data(folder: Path) -> Check:
    wanted = "every file as its manifest says"
    if not (folder / "manifest.json").is_file():
        return Check(what="data", state="look", found=f"{folder}: not there, `fairway fetch` gets it", wanted=wanted)
    try:
        read_manifest(folder)
        shards = len(verify_dataset(folder)["shards"])
    except DataError as error:
        return Check(what="data", state="no", found=str(error), wanted=wanted)
    return Check(what="data", state="ok", found=f"{folder}: {shards} shards, verified", wanted=wanted)


def _pace(resolved: Resolved, data: Path, recorded: _Recorded | None) -> Check:
    """Twenty steps of the recipe, the loop switch in their midst, on its own data."""
    recipe = resolved.recipe
    share = recipe.model.loops.start_fraction if isinstance(recipe.model.loops, Loops) else 1.0
    loops = recipe.model.loops
    model = (
        replace(recipe.model, loops=replace(loops, start_fraction=0.5)) if isinstance(loops, Loops) else recipe.model
    )
    short = replace(recipe.train, steps=_PROBE_STEPS, log_every=1, warmup_steps=min(2, recipe.train.warmup_steps))
    code_sha256, code_bytes = package_code()
    run = Run(
        recipe=replace(recipe, model=model, train=short),
        recipe_sha256=resolved.sha256,
        forecast_bytes=forecast(recipe).total_bytes,
        seed=recipe.seeds[0],
        code_sha256=code_sha256,
        code_bytes=code_bytes,
        echo=echo,
    )
    with tempfile.TemporaryDirectory() as scratch:
        events = Path(scratch, "events.jsonl")
        train_stage(run, data / "train", checkpoint=Path(scratch, "model.safetensors"), events=events)
        here = pace_of(read_events(events))
    budget_s = recipe.train.budget_s - recipe.train.reserve_s
    return check_pace(
        here,
        recorded.pace if recorded else None,
        steps=recipe.train.steps,
        share_before=share,
        budget_s=budget_s,
    )
