"""Downloads what locks name for another machine: wheels.py --python 3.12 --glibc 2.39 --out FOLDER LOCK ...

A lock holds every platform's and every Python's versions, told apart by markers. pip reads markers for the machine that
it runs on, so the lines are picked here, for Linux on x86_64 with CPython, and pip gets what is left. It checks every
file against the lock's hashes; which index or folder they come from is pip's own configuration.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

SOURCE_ONLY = "connection-pool"
"""The one distribution that has no wheel (Makefile)."""

_OLDEST_GLIBC = 17  # 2.17: manylinux2014


def environment(python: str) -> dict[str, str]:
    """The markers of CPython ``python`` (as in ``3.12``) on Linux and x86_64."""
    return {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "linux",
        "extra": "",
    }


def pick(lock: str, python: str) -> list[str]:
    """Entries of a lock that apply to that Python, without markers: ``name==version --hash=...``."""
    lines = "\n".join(line for line in lock.splitlines() if not line.startswith("#"))
    picked = []
    for entry in lines.replace("\\\n", " ").splitlines():
        if not entry.strip():
            continue
        requirement = Requirement(entry.split(" --hash=")[0])
        if requirement.marker is None or requirement.marker.evaluate(environment(python)):
            hashes = re.findall(r"--hash=sha256:[0-9a-f]{64}", entry)
            picked.append(" ".join([f"{requirement.name}{requirement.specifier}", *hashes]))
    return picked


def platforms(glibc: str) -> list[str]:
    """Wheel tags that a machine with that glibc (as in ``2.36``) installs, newest first."""
    newest = int(glibc.removeprefix("2."))
    return [*(f"manylinux_2_{minor}_x86_64" for minor in range(newest, _OLDEST_GLIBC - 1, -1)), "manylinux2014_x86_64"]


def flat(locks: list[Path], python: str) -> str:
    """The locks as one, for that Python alone: what pip and uv can be asked about on any machine."""
    entries = sorted({entry for lock in locks for entry in pick(lock.read_text(encoding="utf-8"), python)})
    return "\n".join(entries) + "\n"


def download(locks: list[Path], python: str, glibc: str, folder: Path) -> None:
    """Every distribution of the locks into ``folder``; ``CalledProcessError`` when pip refuses."""
    with tempfile.TemporaryDirectory() as place:
        lock = Path(place, "lock.txt")
        lock.write_text(flat(locks, python), encoding="utf-8")
        call = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
        call += ["--require-hashes", "--only-binary", ":all:", "--no-binary", SOURCE_ONLY, "--no-build-isolation"]
        call += ["--implementation", "cp", "--python-version", python, "--dest", str(folder), "-r", str(lock)]
        for platform in platforms(glibc):
            call += ["--platform", platform]
        subprocess.run(call, check=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", required=True)
    parser.add_argument("--glibc", required=True)
    parser.add_argument("--out", type=Path, help="where the files go; without it the picked lines are printed")
    parser.add_argument("locks", nargs="+", type=Path)
    words = parser.parse_args()
    if words.out is None:
        sys.stdout.write(flat(words.locks, words.python))
        return
    words.out.mkdir(parents=True, exist_ok=True)
    download(words.locks, words.python, words.glibc, words.out)


if __name__ == "__main__":
    main()
