"""Whether this machine is able to reproduce a recipe: one line for each thing that a run needs, with what was found."""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fairway.machine.environment import locked_versions, unlike_locks
from fairway.machine.sandbox import Walls

State = Literal["ok", "look", "no", "unknown"]
"""As it must be; works, but not as the record's machine; a run would fail or be no reproduction; could not be told."""

_GB = 1e9
_MOST_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that a run needs."""

    what: str
    state: State
    found: str
    wanted: str


def able(checks: Iterable[Check]) -> bool:
    """Whether nothing stands against a run."""
    return all(check.state != "no" for check in checks)


def check_cores(environment: Mapping[str, Any], threads: int) -> Check:
    """Cores that this process may use, against the threads that the recipe asks of one process (0: any)."""
    usable = environment["cpu"]["usable"] or 0
    state: State = "ok" if usable >= max(1, threads) else "look"
    wanted = f"{threads} thread{'s' if threads != 1 else ''} a process" if threads else "any"
    return Check(what="processor", state=state, found=f"{usable} usable, {environment['cpu']['model']}", wanted=wanted)


def check_cards(environment: Mapping[str, Any], device: str | None, world: int) -> Check:
    """Graphics cards against those of the track; ``device`` None asks for none."""
    cards = environment["gpu"]["cards"]
    found = f"{len(cards)} x {cards[0]['name']}" if cards else "none"
    if device is None:
        return Check(what="graphics cards", state="ok", found=found, wanted="none needed")
    wanted = f"{world} x {device}"
    if not cards:
        return Check(what="graphics cards", state="no", found=found, wanted=wanted)
    alike = all(device in card["name"] for card in cards) and len(cards) == world
    return Check(what="graphics cards", state="ok" if alike else "look", found=found, wanted=wanted)


def check_memory(environment: Mapping[str, Any], peak_bytes: int | None) -> Check:
    """Memory of the machine, or of a card where there is one, against what the record's run took at most."""
    cards = environment["gpu"]["cards"]
    if cards and cards[0]["memory_mib"]:
        there, what = cards[0]["memory_mib"] * 1_048_576, "memory of a card"
    else:
        there, what = environment["memory_bytes"] or 0, "memory"
    if peak_bytes is None:
        return Check(what=what, state="unknown", found=_gb(there), wanted="no record tells")
    state: State = "ok" if there > 1.2 * peak_bytes else "look" if there > peak_bytes else "no"
    return Check(what=what, state=state, found=_gb(there), wanted=f"{_gb(peak_bytes)} at most in the record")


def check_disk(folder: Path, needed_bytes: int) -> Check:
    """Room where the run will write."""
    place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    state: State = "ok" if free > needed_bytes else "no"
    return Check(what="disk", state=state, found=f"{_gb(free)} free", wanted=f"about {_gb(needed_bytes)}")


def check_packages(environment: Mapping[str, Any], root: Path, ran_with: Mapping[str, Any] | None) -> Check:
    """Packages against the record's, where one tells, and against the locks otherwise."""
    packages = environment["packages"]
    if ran_with is not None:
        lines = [
            f"{name} {(packages.get(name) or {}).get('version')}, recorded {about['version']}"
            for name, about in ran_with["packages"].items()
            if (packages.get(name) or {}).get("version") != about["version"] and name != "fairway"
        ]
        wanted = "those of the record"
    else:
        locked = locked_versions(root)
        if not locked:
            return Check(what="packages", state="unknown", found=f"{len(packages)}", wanted="no locks here")
        lines, wanted = unlike_locks(packages, locked), "those of requirements/"
    if not lines:
        return Check(what="packages", state="ok", found=f"{len(packages)}, none differs", wanted=wanted)
    more = f" and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
    return Check(what="packages", state="look", found="; ".join(lines[:_MOST_NAMED]) + more, wanted=wanted)


def check_walls(walls: Walls) -> Check:
    """Whether evaluations can be enclosed here."""
    found = walls.mechanism or walls.reason
    return Check(what="isolation", state="ok" if walls.mechanism else "look", found=found, wanted="bubblewrap")


def check_compiler(environment: Mapping[str, Any], *, needed: bool) -> Check:
    """A C compiler, which torch.compile calls."""
    found = environment["compiler"] or "none"
    if not needed:
        return Check(what="C compiler", state="ok", found=found, wanted="none needed")
    return Check(what="C compiler", state="no" if found == "none" else "ok", found=found, wanted="any")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Milliseconds of one training step, before loops are switched on and after; None where there is no such part."""

    before_ms: float | None
    after_ms: float | None


def pace_of(events: Sequence[Mapping[str, Any]]) -> Pace:
    """Mean step of each part of a training log whose every step, or many, were logged; the first is left out."""
    switched = next((event["step"] for event in events if event["event"] == "loops_on"), None)
    steps = [(event["step"], event["train_s"]) for event in events if event["event"] == "step"]
    before = [each for each in steps if switched is None or each[0] <= switched]
    after = [] if switched is None else [each for each in steps if each[0] > switched]
    return Pace(before_ms=_mean_ms(before), after_ms=_mean_ms(after))


def check_pace(here: Pace, recorded: Pace | None, *, steps: int | None, share_before: float, budget_s: float) -> Check:
    """A step here against the record's, and what that means for the whole run.

    A run that counts steps takes longer on a slower machine, and is another run if its budget ends it; one that
    counts seconds makes fewer steps.
    """
    mean_ms = _mixed(here, share_before)
    if mean_ms is None:
        return Check(what="step time", state="unknown", found="no step was timed", wanted="")
    found = f"{mean_ms:.1f} ms"
    state: State = "ok"
    if steps is not None:
        total_s = steps * mean_ms / 1000.0
        found += f", so {total_s:.0f} s for {steps} steps"
        if total_s > budget_s:
            state = "no"
            found += f", beyond the budget of {budget_s:g} s"
    else:
        found += f", so {1000.0 * budget_s / mean_ms:.0f} steps in {budget_s:g} s"
    theirs = None if recorded is None else _mixed(recorded, share_before)
    if theirs is None:
        return Check(what="step time", state=state, found=found, wanted="no record tells")
    ratio = mean_ms / theirs
    if state == "ok" and (ratio > 1.1 or (steps is None and ratio < 0.9)):
        state = "look"
    return Check(
        what="step time", state=state, found=f"{found} ({ratio:.2f} of the record's)", wanted=f"{theirs:.1f} ms"
    )


def _mean_ms(steps: Sequence[tuple[int, float]]) -> float | None:
    if len(steps) < 2 or steps[-1][0] == steps[0][0]:
        return None
    (first, began_s), (last, ended_s) = steps[0], steps[-1]
    return 1000.0 * (ended_s - began_s) / (last - first)


def _mixed(pace: Pace, share_before: float) -> float | None:
    """Mean over a run of which ``share_before`` of the steps come before the switch."""
    if pace.after_ms is None:
        return pace.before_ms
    if pace.before_ms is None:
        return pace.after_ms
    return share_before * pace.before_ms + (1.0 - share_before) * pace.after_ms


def read_events(path: Path) -> list[dict[str, Any]]:
    """The training events of a record's or a run's file, for what they tell of its pace and memory."""
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [event for event in events if event.get("stage") == "train"]


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / _GB:.1f} GB"
