"""Run one command inside walls and limits, and write down what an outsider saw of it.

The clock is this process's: what the command says of its own seconds can be held against it. Outputs of an enclosed
command are written into folders of its own and renamed into place when it ended well, so that nothing is half there,
and nothing else is left.
"""

import ctypes
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import psutil

from fairway.errors import FairwayError
from fairway.machine.limits import Ended, Limits, Usage, broken, confine, end, look
from fairway.machine.sandbox import Room, Walls, enclosed, find_walls, passed_on

_LOOK_S = 0.05
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A command, and what it may see and leave behind."""

    command: Sequence[str]
    reads: Sequence[Path] = ()
    outputs: Sequence[Path] = ()
    """Files or folders that it is to write; the folders around them need not exist."""
    room: Path | None = None
    """A folder of its own that it may fill as it likes; what it leaves there stays."""
    log: Path | None = None
    """Takes what it prints, errors too; without it that goes where the watcher's own words go."""
    variables: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    walls: bool = False
    """Whether it is to be enclosed where that is possible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What an outsider saw."""

    seconds: float
    """From the start of the process to its end, by the watcher's clock."""
    usage: Usage
    status: int
    """Exit status; 128 + the number of the signal that ended it."""
    ended_by: Ended
    isolation: Mapping[str, Any]
    missing: tuple[str, ...]
    """Outputs that it should have written and did not."""
    strays: tuple[str, ...]
    """What it wrote beside them, which is gone."""

    @property
    def is_well(self) -> bool:
        """Whether it did what it was asked to within its limits."""
        return self.status == 0 and self.ended_by == "itself" and not self.missing

    def as_json(self) -> dict[str, Any]:
        """The record of it, without the environment."""
        return {
            "seconds": round(self.seconds, 3),
            "cpu_seconds": round(self.usage.cpu_s, 2),
            "peak_memory_bytes": self.usage.memory_bytes,
            "peak_processes": self.usage.processes,
            "exit_status": self.status,
            "ended_by": self.ended_by,
            "isolation": dict(self.isolation),
            "missing": list(self.missing),
            "strays": list(self.strays),
        }


def watch(task: Task, *, folder: Path | None = None, clock: Callable[[], float] = time.monotonic) -> Watched:
    """Run a task to its end, or to the first limit that it passes; standard streams are the watcher's.

    ``folder`` is where it starts, the present one unless given. ``FairwayError`` if it cannot be started at all.
    """
    here = Path.cwd() if folder is None else folder
    walls = find_walls() if task.walls else Walls(mechanism=None, reason="not asked for")
    for path in task.outputs:
        path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        staged = stack.enter_context(_staging(task)) if walls.mechanism else {}
        command = list(task.command)
        places = {"output": next(iter(staged.values())).parent} if staged else {}
        if task.room is not None:
            places["room"] = task.room
        if walls.mechanism:
            own = {} if task.room is None else {task.room: task.room}
            room = Room(reads=task.reads, writes={**staged, **own}, folder=here)
            command = enclosed(command, room)
        began = clock()
        # Who builds the walls stays inside as the first process, and what it was given could be read there.
        variables = passed_on(task.variables) if walls.mechanism else {**os.environ, **task.variables}
        log = None if task.log is None else stack.enter_context(task.log.open("wb"))
        process = _start(command, here, variables, task.limits, log)
        usage, ended_by = Usage(), "itself"
        try:
            ended_by = _wait(process, task.limits, places, usage, lambda: clock() - began)
        finally:
            end(psutil.Process(process.pid)) if process.poll() is None else None
            process.wait()
        seconds = clock() - began
        missing, strays = _take(task, staged) if staged else (_absent(task), ())
    return Watched(
        seconds=seconds,
        usage=usage,
        status=process.returncode if process.returncode >= 0 else 128 - process.returncode,
        ended_by=ended_by,
        isolation=_told(task, walls),
        missing=missing,
        strays=strays,
    )


def _told(task: Task, walls: Walls) -> dict[str, Any]:
    state = "enforced" if walls.mechanism else "not available" if task.walls else "not asked for"
    told: dict[str, Any] = {"state": state, "mechanism": walls.mechanism, "limits": task.limits.as_json()}
    if walls.mechanism:
        told |= {"network": "none", "reads": [path.as_posix() for path in task.reads]}
    elif task.walls:
        told["reason"] = walls.reason
    return told


def _start(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], limits: Limits, log: BinaryIO | None
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            preexec_fn=lambda: _before(limits),
            stdin=None if log is None else subprocess.DEVNULL,
            stdout=log,
            stderr=None if log is None else subprocess.STDOUT,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FairwayError(f"{command[0]}: cannot be started: {error}") from error


def _before(limits: Limits) -> None:
    """In the child, before it becomes the command: it ends with the watcher, and the kernel's limits hold for it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    confine(limits)


def _wait(
    process: subprocess.Popen[bytes],
    limits: Limits,
    places: Mapping[str, Path],
    usage: Usage,
    elapsed_s: Callable[[], float],
) -> Ended:
    seen = psutil.Process(process.pid)
    while True:
        look(seen, places, usage)
        passed = broken(limits, usage, elapsed_s())
        if passed != "itself":
            end(seen)
            return passed
        try:
            process.wait(timeout=_LOOK_S)
        except subprocess.TimeoutExpired:
            continue
        return "itself"


@contextmanager
def _staging(task: Task) -> Iterator[dict[Path, Path]]:
    """For each folder that an output lies in, one that the command sees in its place."""
    if not task.outputs:
        yield {}
        return
    parents = list(dict.fromkeys(path.absolute().parent for path in task.outputs))
    prefix = f".watch.{task.outputs[0].name}."
    # What a watcher left that was killed with all it watched; nobody else makes this output meanwhile.
    for left in parents[0].glob(f"{glob.escape(prefix)}*"):
        shutil.rmtree(left)
    # On the disk of the first output, so that renaming is all there is to do.
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parents[0]) as base:
        staged = {parent: Path(base, str(number)) for number, parent in enumerate(parents)}
        for place in staged.values():
            place.mkdir()
        yield staged


def _take(task: Task, staged: Mapping[Path, Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Put outputs in their places; names of those that are not there, and of what else was written."""
    missing = []
    for path in task.outputs:
        made = staged[path.absolute().parent] / path.name
        if made.is_symlink() or not made.exists():
            missing.append(path.as_posix())
            continue
        if path.is_dir():
            shutil.rmtree(path)
        _move(made, path)
    hidden = {path.absolute() for path in task.reads}
    strays = [
        seen.as_posix()
        for parent, place in staged.items()
        for each in sorted(place.iterdir())
        # What is shown inside a folder leaves an empty place where it was shown.
        if not any(shown == (seen := parent / each.name) or seen in shown.parents for shown in hidden)
    ]
    return tuple(missing), tuple(strays)


def _move(made: Path, place: Path) -> None:
    try:
        os.replace(made, place)
    except OSError:  # another disk
        part = place.with_name(f"{place.name}.part")
        (shutil.copytree if made.is_dir() else shutil.copyfile)(made, part)
        os.replace(part, place)


def _absent(task: Task) -> tuple[str, ...]:
    return tuple(path.as_posix() for path in task.outputs if not path.exists())


def shell_status(watched: Watched) -> int:
    """What the watcher exits with: the command's own status, 1 where it was ended or left something out."""
    return watched.status if watched.ended_by == "itself" and (watched.status or not watched.missing) else 1
