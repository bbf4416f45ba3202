"""One side of a comparison: a command line that is run in a process and a folder of its own, with marks set in it."""

import json
import os
import shlex
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHILD = Path(__file__).resolve().parent / "child"

Phases = Mapping[str, tuple[int, int]]
"""Name to the steps of a phase, the first and the one after the last, counted from 0."""


class RunFailed(RuntimeError):
    """A script that did not come to its end, or left no marks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A script and how it is called."""

    name: str
    command: Sequence[str]
    """Script and arguments; ``{out}`` in one of them is the folder of the run."""
    environment: Mapping[str, str]
    calls: int
    """Calls of ``backward`` in one optimizer step."""
    steps: int
    """Steps of the run; they end with its last call of ``backward``, so that warm-up is not among them."""
    loader: str = ""
    """``Class.method`` that returns batches, to compare what both sides read."""
    python: str = sys.executable


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """What a run left."""

    step_s: tuple[float, ...]
    """Of each step but the first, from one's last ``backward`` to the next one's; place 0 is step 1."""
    batches: tuple[tuple[str, ...], ...]
    peak_bytes: int
    told: Mapping[str, Any]
    """Versions, device, compiler's counts."""

    def seconds(self, first: int, end: int) -> float:
        """Median step of a phase."""
        return statistics.median(self.step_s[max(first - 1, 0) : end - 1])


def run(side: Side, folder: Path, *, shim: bool, hashes: int) -> Marks:
    """Run one side once; its output is kept in the folder. ``RunFailed`` with its last line if it fails."""
    folder.mkdir(parents=True)
    marks = folder / "marks.json"
    paths = [CHILD / "hook", *([CHILD / "shim"] if shim else [])]
    own = {
        "PYTHONPATH": os.pathsep.join([*map(str, paths), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "FAIRWAY_MARKS": str(marks.resolve()),
        "FAIRWAY_LOADER": side.loader,
        "FAIRWAY_HASHES": str(hashes),
    }
    command = [side.python, *(word.replace("{out}", str(folder.resolve())) for word in side.command)]
    with (folder / "output.log").open("w", encoding="utf-8") as log:
        status = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **side.environment, **own},
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
    if status or not marks.is_file():
        lines = (folder / "output.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        why = f"ended with status {status}" if status else "never called backward"
        raise RunFailed(f"{side.name}: {shlex.join(command)} {why}: {lines[-1] if lines else 'no output'}")
    return read_marks(json.loads(marks.read_text(encoding="utf-8")), side)


def read_marks(found: Mapping[str, Any], side: Side) -> Marks:
    """Calls of ``backward`` to steps; ``RunFailed`` if there are too few."""
    since = found["backward_s"]
    if len(since) < side.steps * side.calls:
        raise RunFailed(
            f"{side.name}: {len(since)} calls of backward, but {side.steps} steps of {side.calls} make"
            f" {side.steps * side.calls}; are steps and calls those of the script?"
        )
    ends = since[len(since) - side.steps * side.calls :][side.calls - 1 :: side.calls]
    return Marks(
        step_s=tuple(two - one for one, two in zip(ends, ends[1:], strict=False)),
        batches=tuple(tuple(batch) for batch in found["batches"]),
        peak_bytes=found["peak_bytes"],
        told={key: value for key, value in found.items() if key not in ("backward_s", "batches", "peak_bytes")},
    )


def needs_shim(python: str) -> bool:
    """Whether that Python has no FlashAttention 3."""
    look = "import importlib.util, sys; sys.exit(importlib.util.find_spec('flash_attn_interface') is None)"
    return subprocess.run([python, "-c", look], check=False).returncode == 1
