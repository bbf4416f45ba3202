"""What the watcher saw of each stage, gathered into the one file of a record that speaks of machines."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fairway.errors import FairwayError
from fairway.records.layout import STAGES, stage_outside

_FORMAT = 1
_PROBE = "probe"
"""What is no stage of a run, and watched like one where it is switched on."""


def read_outside(folder: Path) -> dict[str, Mapping[str, Any]] | None:
    """By stage, what ``fairway watch`` wrote beside a seed's run; None where nothing was watched.

    ``FairwayError`` where some stages were watched and others not, or a file is none of the watcher's.
    """
    places = {stage: stage_outside(folder, stage) for stage in STAGES}
    there = {stage: path for stage, path in places.items() if path.is_file()}
    if not there:
        return None
    for stage, path in places.items():
        if stage not in there:
            raise FairwayError(f"{path}: no such file, but other stages of this seed were watched; run {stage} again")
    if (path := stage_outside(folder, _PROBE)).is_file():
        there[_PROBE] = path
    return {stage: _read(path, stage) for stage, path in there.items()}


def gathered(seeds: Mapping[int, Mapping[str, Mapping[str, Any]]]) -> str:
    """Text of environment.json: each environment once, and for each stage of each seed what was seen and where."""
    environments: list[Any] = []
    stages: list[dict[str, Any]] = []
    for seed, watched in seeds.items():
        for stage, seen in watched.items():
            if seen["environment"] not in environments:
                environments.append(seen["environment"])
            own = {key: value for key, value in seen.items() if key not in ("environment", "format", "stage")}
            place = environments.index(seen["environment"])
            stages.append({"seed": seed, "stage": stage, "environment": place, **own})
    record = {"format": _FORMAT, "environments": environments, "stages": stages}
    return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _read(path: Path, stage: str) -> Mapping[str, Any]:
    try:
        seen = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FairwayError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(seen, dict) or seen.get("format") != _FORMAT or not isinstance(seen.get("environment"), dict):
        raise FairwayError(f"{path}: must be what `fairway watch` writes, format {_FORMAT}")
    if seen.get("stage") != stage:
        raise FairwayError(f"{path}: is of stage {seen.get('stage')!r}, must be of {stage}")
    return seen
