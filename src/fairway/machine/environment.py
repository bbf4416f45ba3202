"""Packages, locks, processors, driver, variables and revision of this machine, as one record that can be compared.

Nothing here is a secret: of the environment's variables only those are kept that change what numbers come out or how
fast, and of the machine neither its name nor its addresses.
"""

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

IMAGE_VARIABLE = "CONTAINER_IMAGE"
"""Whoever starts a container says in it which image that is, by digest; an image cannot hold its own."""

_CONTAINER_SIGNS = ("/.dockerenv", "/run/.containerenv", "/.singularity.d")

RELEVANT = (
    *("CUBLAS_WORKSPACE_CONFIG", "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_LAUNCH_BLOCKING", "CUDA_MODULE_LOADING"),
    *("CUDA_VISIBLE_DEVICES", "KMP_AFFINITY", "MALLOC_ARENA_MAX", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONHASHSEED", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"),
)
"""Variables that are kept by name, and, by their beginnings, ``_RELEVANT_PREFIXES``."""

_RELEVANT_PREFIXES = ("NCCL_", "TORCH_", "TORCHINDUCTOR_", "TRITON_")
_UNSHARED = re.compile(r"\.pyc,|(INSTALLER|REQUESTED|direct_url\.json|RECORD),|^\.\./")
"""Lines of an installation's list of files that differ between machines without any difference in the package."""

_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)


def describe_environment(root: Path) -> dict[str, Any]:
    """What a stage that starts now would run on; ``root`` holds the locks and, maybe, a git checkout.

    Every value is plain JSON. What cannot be found out is None, never a guess.
    """
    packages = installed_packages()
    return {
        "image": image_named(os.environ),
        "locks": lock_digests(root),
        "python": platform.python_version(),
        "packages": packages,
        "gpu": describe_gpus(),
        "cpu": {"model": _cpu_model(), "cores": os.cpu_count(), "usable": _usable_cores()},
        "memory_bytes": _memory_bytes(),
        "system": {"os": _os_name(), "kernel": platform.release(), "machine": platform.machine(), "libc": _libc()},
        "compiler": _first_line(["cc", "--version"]),
        "variables": relevant_variables(os.environ),
        "git": describe_checkout(root),
    }


def image_named(variables: Mapping[str, str]) -> str:
    """Digest or name of the image around us as it was told, ``unknown`` where there is one unnamed, else ``none``."""
    told = variables.get(IMAGE_VARIABLE) or variables.get("APPTAINER_CONTAINER")
    return told or ("unknown" if any(Path(sign).exists() for sign in _CONTAINER_SIGNS) else "none")


def installed_packages() -> dict[str, dict[str, str | None]]:
    """Version of each distribution, and the SHA-256 of its list of installed files with their digests.

    Two machines that unpacked the same wheel have the same digest; an editable installation has None.
    """
    found: dict[str, dict[str, str | None]] = {}
    for each in importlib.metadata.distributions():
        name = canonical(each.metadata["Name"])
        if name not in found:  # the first on the path is the one that is imported
            found[name] = {"version": each.version, "files_sha256": _files_sha256(each)}
    return dict(sorted(found.items()))


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def lock_digests(root: Path) -> dict[str, str]:
    """SHA-256 of each file of locked requirements below ``root``, by its name there."""
    files = sorted((root / "requirements").glob("*.txt"))
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def locked_versions(root: Path) -> dict[str, set[str]]:
    """Versions that any of the locks allows, by distribution."""
    found: dict[str, set[str]] = {}
    for path in sorted((root / "requirements").glob("*.txt")):
        for name, version in _LOCKED.findall(path.read_text(encoding="utf-8")):
            found.setdefault(canonical(name), set()).add(version)
    return found


def unlike_locks(packages: Mapping[str, Mapping[str, str | None]], locked: Mapping[str, set[str]]) -> list[str]:
    """Each locked distribution that is installed in another version, as ``name 1.2, locked 1.3``.

    A local version (``2.13.0+cpu``) counts as its public part. What is locked and absent is no difference: a lock
    holds packages for other systems and for developing too.
    """
    lines = []
    for name, about in packages.items():
        version = (about["version"] or "").partition("+")[0]
        allowed = {each.partition("+")[0] for each in locked.get(name, set())}
        if allowed and version not in allowed:
            lines.append(f"{name} {about['version']}, locked {' or '.join(sorted(allowed))}")
    return lines


def describe_gpus() -> dict[str, Any]:
    """Names, memory and driver of the cards, and the CUDA and NCCL that torch was built for; None without a card.

    torch is imported only where there is a card: importing it takes seconds.
    """
    query = "--query-gpu=name,memory.total,driver_version"
    lines = _lines(["nvidia-smi", query, "--format=csv,noheader,nounits"])
    if not lines:
        return {"cards": [], "driver": None, "cuda": None, "cudnn": None, "nccl": None}
    cards, drivers = [], set()
    for line in lines:
        name, memory_mib, driver = (part.strip() for part in line.split(","))
        cards.append({"name": name, "memory_mib": int(memory_mib) if memory_mib.isdecimal() else None})
        drivers.add(driver)
    import torch

    nccl = torch.cuda.nccl.version() if torch.cuda.is_available() else None  # type: ignore[no-untyped-call]
    return {
        "cards": cards,
        "driver": " ".join(sorted(drivers)),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        "nccl": None if nccl is None else ".".join(map(str, nccl)),
    }


def relevant_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Those that change numbers or speed, sorted by name."""
    return {
        name: value
        for name, value in sorted(variables.items())
        if name in RELEVANT or name.startswith(_RELEVANT_PREFIXES)
    }


def describe_checkout(root: Path) -> dict[str, Any] | None:
    """Revision of the checkout and whether tracked files differ from it; None where there is no checkout or no git.

    Records are left out: they are what runs make, not what makes them.
    """
    # Whatever clone the environment may speak of, the one around ``root`` is asked.
    bare = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    revision = _lines(["git", "-C", str(root), "rev-parse", "HEAD"], bare)
    if len(revision) != 1:
        return None
    tracked = ["status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)records"]
    changed = _lines(["git", "-C", str(root), *tracked], bare)
    return {"revision": revision[0], "dirty": bool(changed)}


def differences(one: Mapping[str, Any], other: Mapping[str, Any], *, path: str = "") -> list[str]:
    """Where two records of environments differ, a line each: ``packages.torch.version: 2.13.0 and 2.11.0``."""
    lines: list[str] = []
    for key in sorted({*one, *other}):
        here, there = one.get(key), other.get(key)
        where = f"{path}.{key}" if path else key
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            lines += differences(here, there, path=where)
        elif here != there:
            lines.append(f"{where}: {here} and {there}")
    return lines


def _files_sha256(distribution: importlib.metadata.Distribution) -> str | None:
    record = distribution.read_text("RECORD")
    if (
        record is None
        or "direct_url.json" in record
        and '"editable": true' in (distribution.read_text("direct_url.json") or "")
    ):
        return None
    lines = sorted(line for line in record.splitlines() if line and not _UNSHARED.search(line))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _lines(command: Sequence[str], variables: Mapping[str, str] | None = None) -> list[str]:
    """What a command prints; nothing where it is not there, fails, or takes too long."""
    program = shutil.which(command[0])
    if program is None:
        return []
    try:
        done = subprocess.run([program, *command[1:]], capture_output=True, text=True, timeout=20, env=variables)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _first_line(command: Sequence[str]) -> str | None:
    return next(iter(_lines(command)), None)


def _usable_cores() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _cpu_model() -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or None
    return next((line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")), None)


def _memory_bytes() -> int | None:
    if "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", sys.platform)
    except OSError:
        return sys.platform


def _libc() -> str | None:
    return " ".join(platform.libc_ver()).strip() or None
