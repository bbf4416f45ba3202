"""The walls around a program: no network, the files that were named and no others, variables that were named.

Built of user namespaces by bubblewrap, where the system allows it. Where it does not, ``find_walls`` says why, and
whoever runs something writes that down: isolation is enforced or not available, never assumed.

    named, to read        programs (interpreter, libraries), inputs          read-only, at their own places
    named, to write       a folder of its own beside each output's folder    renamed into place when all is well
    not named             other people's files, training shards, the home    not there
    /tmp, /dev/shm        in memory, of limited size                         gone afterwards
    other processes       not visible, not reachable                         ended with the sandbox
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PASSED_ON = (
    *("LANG", "LC_ALL", "TZ", "PATH", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
    *("CUDA_VISIBLE_DEVICES", "CUDA_HOME", "CUBLAS_WORKSPACE_CONFIG", "PYTORCH_ALLOC_CONF", "PYTHONHASHSEED"),
    *("PYTHONUNBUFFERED",),
)
"""Variables that a program inside may see, where they are set."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt")
_SETTINGS = ("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime")
_CARDS = ("nvidia", "dri", "kfd")
"""How devices of graphics cards begin in /dev."""
_PROC = ("--proc", "/proc")
_TOLD = ("/proc/cpuinfo", "/proc/meminfo")
_LITTLE_PROC = ("--tmpfs", "/proc", *(word for file in _TOLD for word in ("--ro-bind", file, file)))
"""In a container, of whose /proc parts are hidden, the kernel mounts no other; its own would show others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """What encloses programs here, or why nothing does."""

    mechanism: str | None
    """Such as ``bubblewrap 0.8.0``; None where there is none."""
    reason: str = ""
    """Why there is none."""
    proc: tuple[str, ...] = _PROC
    """What makes /proc inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a program inside finds."""

    reads: Sequence[Path] = ()
    """Files and folders at their own places, read-only."""
    writes: Mapping[Path, Path] = field(default_factory=dict)
    """Folders that it may write to: where it sees them, and what they are outside."""
    folder: Path
    """Where it starts."""
    scratch_bytes: int = 1 << 30
    """Room of /tmp, and of /dev/shm, in memory."""


@cache
def find_walls() -> Walls:
    """The mechanism that works on this machine, found out by trying it."""
    program = shutil.which("bwrap")
    if program is None:
        return Walls(mechanism=None, reason="bubblewrap (bwrap) is not installed")
    try:
        version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20).stdout.strip()
        refused = _refused(program, _PROC)
        if refused is None:
            return Walls(mechanism=version or "bubblewrap")
        # CUDA finds its cards through /proc.
        if not _cards() and _refused(program, _LITTLE_PROC) is None:
            return Walls(mechanism=f"{version or 'bubblewrap'} without /proc", proc=_LITTLE_PROC)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Walls(mechanism=None, reason=f"bubblewrap cannot be run: {error}")
    return Walls(mechanism=None, reason=refused)


def _refused(program: str, proc: Sequence[str]) -> str | None:
    """Why nothing can be run inside; None if it can."""
    call = [program, *_namespaces(), "--ro-bind", "/", "/", *proc, "--dev", "/dev", "true"]
    tried = subprocess.run(call, capture_output=True, text=True, timeout=20)
    said = " ".join(tried.stderr.split())[:300]
    return (said or f"exit status {tried.returncode}") if tried.returncode else None


def _cards() -> list[Path]:
    return [device for device in sorted(Path("/dev").iterdir()) if device.name.startswith(_CARDS)]


def enclosed(command: Sequence[str], room: Room) -> list[str]:
    """The command inside the walls; ``find_walls`` must have found some."""
    program = shutil.which("bwrap")
    assert program is not None
    walls = [program, *_namespaces()]
    for needed in (*_SYSTEM, *_SETTINGS):
        walls += _shown(Path(needed))
    walls += [*find_walls().proc, "--dev", "/dev"]
    for size, place in ((room.scratch_bytes, "/tmp"), (room.scratch_bytes, "/dev/shm")):
        walls += ["--size", str(size), "--tmpfs", place]
    for device in _cards():
        walls += ["--dev-bind", str(device), str(device)]
        if "/sys" not in walls:
            walls += ["--ro-bind-try", "/sys", "/sys"]  # CUDA looks there for the cards' places
    for path in interpreter_paths():
        walls += _shown(path)
    # Outer places first: what is shown inside one of them must come after it.
    shown = [(path.absolute(), None) for path in room.reads] + [(a.absolute(), b) for a, b in room.writes.items()]
    for path, outside in sorted(shown, key=lambda each: (len(each[0].parts), each[1] is None)):
        walls += (
            ["--ro-bind", str(path), str(path)] if outside is None else ["--bind", str(outside.absolute()), str(path)]
        )
    here = str(room.folder.absolute())
    walls += ["--dir", here, "--remount-ro", "/", "--chdir", here, "--", *command]
    return walls


def interpreter_paths() -> list[Path]:
    """Where this Python and what it imports lie, outside the places that every program needs."""
    wanted = [Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parents[1]]
    wanted += [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    found: list[Path] = []
    for path in sorted({each.absolute() for each in wanted if each.exists()}, key=lambda each: len(each.parts)):
        inside = any(path.is_relative_to(base) for base in [*map(Path, _SYSTEM), *found])
        if not inside and path != Path("/"):
            found.append(path)
    return found


def _namespaces() -> list[str]:
    # A new session takes the terminal away, through which a program could type into the shell that started it.
    return ["--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--hostname", "sandbox"]


def passed_on(more: Mapping[str, str]) -> dict[str, str]:
    """Variables of a program inside: those of ``PASSED_ON`` that are set, a home in its own room, and ``more``."""
    passed = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
    return {**passed, "HOME": "/tmp", "TMPDIR": "/tmp", **more}


def _shown(path: Path) -> list[str]:
    if path.is_symlink() and not path.is_absolute():
        return []
    if path.is_symlink():  # /bin is a link to usr/bin on most systems
        return ["--symlink", os.readlink(path), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.exists() else []
