"""A record into a clone of the challenge repository, and the proof that the change adds that one folder."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fairway.errors import FairwayError

RECORDS = "records"
"""Where a challenge repository keeps its records, track by track."""

_MOST_NAMED = 3


def put_into(place: Path, checkout: Path) -> list[str]:
    """Copy the record at ``place`` (``.../track_<name>/<record>``) into a git clone and stage it; the paths added.

    What is staged differs from HEAD by new files in that folder and by nothing else, each with the bytes that were
    judged; otherwise ``FairwayError`` says what is in the way, and the clone is left without the folder.
    """
    root = _root(checkout)
    folder = f"{RECORDS}/{place.parent.name}/{place.name}"
    others = [path for path in _changed(root) if not path.startswith(f"{folder}/")]
    if others:
        raise FairwayError(f"{root}: has changes of its own ({_named(others)}); commit them or take them back first")
    if _git(root, "ls-tree", "HEAD", "--", folder):
        raise FairwayError(f"{root / folder}: is in the clone's HEAD already; records are never changed")
    try:
        _copy(place, root / folder, root)
        _git(root, "add", "--force", "--", folder)
        return _proven(place, root, folder)
    except BaseException:
        _take_back(root, folder)
        raise


def _root(checkout: Path) -> Path:
    if not checkout.is_dir():
        raise FairwayError(f"{checkout}: no such folder; --into takes a clone of the challenge repository")
    root = Path(_git(checkout, "rev-parse", "--show-toplevel").strip())
    if root.resolve() != checkout.resolve():
        raise FairwayError(f"{checkout}: lies inside the clone {root}; name the clone itself")
    if _git(root, "ls-tree", "-d", "--name-only", "HEAD", "--", RECORDS).strip() != RECORDS:
        raise FairwayError(f"{checkout}: is no clone of the challenge repository: HEAD has no folder {RECORDS}")
    return root.resolve()


def _changed(root: Path) -> list[str]:
    """Every path that differs from HEAD, in the index or in the work tree; ignored files do not."""
    entries = _git(root, "status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=all").split("\0")
    return [entry[3:] for entry in entries if entry]


def _copy(place: Path, target: Path, root: Path) -> None:
    try:
        _take_back(root, target.relative_to(root).as_posix())
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(place, target)
    except OSError as error:
        raise FairwayError(f"{target}: cannot be written: {error.strerror or error}") from error


def _take_back(root: Path, folder: str) -> None:
    _git(root, "rm", "-r", "-q", "--cached", "--force", "--ignore-unmatch", "--", folder)
    shutil.rmtree(root / folder, ignore_errors=True)


def _proven(place: Path, root: Path, folder: str) -> list[str]:
    due = sorted(f"{folder}/{path.relative_to(place).as_posix()}" for path in place.rglob("*") if path.is_file())
    words = _git(root, "diff", "--cached", "--name-status", "--no-renames", "-z", "HEAD").split("\0")[:-1]
    kinds, paths = words[::2], words[1::2]
    if set(kinds) != {"A"} or sorted(paths) != due:
        strays = sorted(set(paths) ^ set(due)) or [path for kind, path in zip(kinds, paths, strict=True) if kind != "A"]
        raise FairwayError(f"{root}: the change would not be exactly {folder}: {_named(strays)}")
    if sorted(_changed(root)) != due:
        raise FairwayError(f"{root}: the work tree differs from what is staged: {_named(_changed(root))}")
    staged = _git(root, "ls-files", "--stage", "-z", "--", folder).split("\0")[:-1]
    blobs = {path: entry.split(" ")[1] for entry, path in (line.split("\t", 1) for line in staged)}
    names = "".join(f"{place / path.removeprefix(folder + '/')}\n" for path in due)
    judged = _git(root, "hash-object", "--no-filters", "--stdin-paths", text=names).split()
    changed = [path for path, blob in zip(due, judged, strict=True) if blobs[path] != blob]
    if changed:
        raise FairwayError(f"{root}: the clone's attributes would change what is committed: {_named(changed)}")
    return due


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return ", ".join(paths[:_MOST_NAMED]) + more


def _git(folder: Path, *arguments: str, text: str = "") -> str:
    """Standard output of git in ``folder``, whatever clone the environment may speak of."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    settings = ("-c", "core.quotePath=false", "-c", "core.autocrlf=false", "-c", "core.safecrlf=false")
    try:
        result = subprocess.run(
            ["git", "-C", str(folder.resolve()), *settings, *arguments],
            input=text,
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
    except FileNotFoundError as error:
        raise FairwayError("git is not installed; --into needs it") from error
    if result.returncode:
        reason = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise FairwayError(f"{folder}: git {arguments[0]}: {reason[-1]}")
    return result.stdout
