"""How much a program may take, and the watcher outside that ends it when it takes more.

The kernel's own limits (``setrlimit``) hold where they hold for everyone; number of processes and resident memory are
counted from outside as well, for the kernel counts the former for a user and not at all for root.
"""

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

Ended = Literal["itself", "time", "memory", "processes", "disk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a program and all that it starts may take together; None is no limit."""

    seconds: float | None = None
    """Of wall-clock time, by a clock that the program cannot reach."""
    memory_bytes: int | None = None
    """Resident, summed over processes: shared pages count once for each."""
    processes: int | None = None
    """At the same time, threads not counted."""
    file_bytes: int | None = None
    """Of one file that is written."""
    disk_bytes: int | None = None
    """Of all files that it leaves in the places it may write to, and of its own temporary folder."""

    def as_json(self) -> dict[str, float | int | None]:
        """By name, for the record."""
        return {
            "seconds": self.seconds,
            "memory_bytes": self.memory_bytes,
            "processes": self.processes,
            "file_bytes": self.file_bytes,
            "disk_bytes": self.disk_bytes,
        }


@dataclass(slots=True)
class Usage:
    """The most that was seen of each."""

    memory_bytes: int = 0
    processes: int = 0
    disk_bytes: int = 0
    cpu_s: float = 0.0


def confine(limits: Limits) -> None:
    """Set the kernel's limits for this process and what it starts; run between fork and exec."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if limits.file_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
    if limits.processes is not None and os.getuid() != 0:
        # For a user's processes all together, those outside included: room is left for them.
        held = sum(
            1 for each in psutil.process_iter(["uids"]) if each.info["uids"] and each.info["uids"][0] == os.getuid()
        )
        soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        asked = held + 64 * limits.processes  # threads count here
        most = asked if hard == resource.RLIM_INFINITY else min(asked, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, hard))


def look(process: psutil.Process, places: Mapping[str, Path], usage: Usage) -> None:
    """Note what a process and all below it take now."""
    memory = alive = 0
    cpu_s = 0.0
    for each in _family(process):
        try:
            with each.oneshot():
                memory += each.memory_info().rss
                times = each.cpu_times()
                cpu_s += times.user + times.system + times.children_user + times.children_system
                alive += 1
        except psutil.Error:
            continue
    usage.memory_bytes = max(usage.memory_bytes, memory)
    usage.processes = max(usage.processes, alive)
    usage.cpu_s = max(usage.cpu_s, cpu_s)
    usage.disk_bytes = max(usage.disk_bytes, sum(folder_bytes(place) for place in places.values()))


def broken(limits: Limits, usage: Usage, elapsed_s: float) -> Ended:
    """The first limit that is passed; ``itself`` where none is."""
    if limits.seconds is not None and elapsed_s > limits.seconds:
        return "time"
    if limits.memory_bytes is not None and usage.memory_bytes > limits.memory_bytes:
        return "memory"
    if limits.processes is not None and usage.processes > limits.processes:
        return "processes"
    if limits.disk_bytes is not None and usage.disk_bytes > limits.disk_bytes:
        return "disk"
    return "itself"


def folder_bytes(folder: Path) -> int:
    """Bytes on disk of every file below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder, onerror=None):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return total


def end(process: psutil.Process) -> None:
    """Kill a process and all below it, the newest included: each is stopped before its children are listed."""
    for _ in range(8):
        family = _family(process)
        for each in family:
            _signal(each, "suspend")
        for each in family:
            _signal(each, "kill")
        if all(each.pid == process.pid or not each.is_running() for each in _family(process)):
            break
    _signal(process, "kill")


def _signal(process: psutil.Process, what: Literal["suspend", "kill"]) -> None:
    try:
        getattr(process, what)()
    except psutil.Error:
        return


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return [process]
