"""The folders that a pull request adds to a clone, read from git's objects.

Nothing is checked out, no hook, filter or driver of the clone is run, and nothing is fetched.
"""

import io
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from fairway.errors import DataError
from fairway.verify.submission import Change
from fairway.verify.tree import MOST_ENTRIES, Entry, Tree

_FOLDER = re.compile(r"((?:.*/)?records/track_[^/]+/[^/]+)/.+", re.DOTALL)
_BASES = ("refs/remotes/origin/HEAD", "refs/remotes/origin/main", "refs/heads/main", "refs/heads/master", "HEAD")
_ENVIRONMENT = {
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


class Repository:
    """A clone, bare or not."""

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DataError(f"{path}: no such clone")
        self.path = path
        self._git("rev-parse", "--git-dir")

    def commit(self, ref: str) -> str:
        """The commit that a ref names; ``DataError`` if there is none."""
        try:
            return self._git("rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}").decode().strip()
        except DataError as error:
            raise DataError(f"{self.path}: {ref!r} names no commit") from error

    def base(self, commit: str, ref: str | None = None) -> str:
        """The commit from which a pull request starts.

        Where the branch that it goes to (``ref``, or the clone's default one) holds ``commit`` already, that is the
        state just before it was merged.
        """
        onto = self.commit(ref) if ref is not None else self._default()
        if onto != commit and self._reaches(commit, onto):
            merges = self._git("rev-list", "--ancestry-path", "--first-parent", f"{commit}..{onto}").split()
            if merges:
                onto = self.commit(f"{merges[-1].decode()}^1")
        try:
            return self._git("merge-base", onto, commit).decode().strip()
        except DataError as error:
            raise DataError(f"{self.path}: {commit[:12]} and {onto[:12]} have no commit in common") from error

    def change(self, commit: str, base: str, number: int | None = None) -> Change:
        """What lies between two commits, as pull request ``number`` where that is known.

        A folder of records is new where ``base`` holds nothing below it.
        """
        fields = self._git("diff-tree", "-r", "-z", "--no-renames", "--raw", base, commit).split(b"\0")
        paths: dict[str, list[str]] = {"A": [], "M": [], "D": []}
        for head, name in zip(fields[:-1:2], fields[1::2], strict=False):
            kind = head.split()[-1].decode()
            paths[kind if kind in paths else "M"].append(_text(name))
        touched = {match[1] for path in paths["A"] if (match := _FOLDER.fullmatch(path))}
        held = {folder for folder in touched if self._git("ls-tree", "-z", "--full-tree", base, "--", folder)}
        return Change(
            added=tuple(paths["A"]),
            modified=tuple(paths["M"]),
            deleted=tuple(paths["D"]),
            folders=tuple(sorted(touched - held)),
            pr=number,
        )

    def toplevel(self) -> bytes:
        """Where the checkout lies; ``DataError`` in a bare clone."""
        return self._git("rev-parse", "--show-toplevel").removesuffix(b"\n")

    def touching(self, path: str) -> list[str]:
        """The commits of the default branch that change something at or below a path, the latest first."""
        return self._git("rev-list", "--first-parent", self._default(), "--", path).decode().split()

    def parents(self, commit: str) -> list[str]:
        """The parents of a commit, that on its own branch first."""
        return self._git("rev-list", "--parents", "-n", "1", commit).decode().split()[1:]

    def listing(self, commit: str, paths: Sequence[str]) -> list[tuple[str, str, str, int, bytes]]:
        """Mode, kind, object, size and name of everything at or below some paths of a commit."""
        rows = []
        for row in self._git("ls-tree", "-r", "-z", "-l", "--full-tree", commit, "--", *paths).split(b"\0"):
            if row:
                head, name = row.split(b"\t", 1)
                mode, kind, blob, size = head.decode().split()
                rows.append((mode, kind, blob, int(size) if size.isdigit() else 0, name))
        return rows

    def stream(self, blob: str) -> BinaryIO:
        """A stream over one object."""
        return cast(BinaryIO, io.BufferedReader(_Blob(self._start("cat-file", "blob", blob))))

    def _default(self) -> str:
        for ref in _BASES:
            try:
                return self.commit(ref)
            except DataError:
                continue
        raise DataError(f"{self.path}: no default branch; say --base")

    def _reaches(self, commit: str, onto: str) -> bool:
        try:
            self._git("merge-base", "--is-ancestor", commit, onto)
        except DataError:
            return False
        return True

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = ["git", "-C", str(self.path), "-c", "core.fsmonitor=false", *arguments]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, **_ENVIRONMENT},
            )
        except FileNotFoundError as error:
            raise DataError("git is not installed, and a pull request is read with it") from error

    def _git(self, *arguments: str) -> bytes:
        with self._start(*arguments) as process:
            out, complaint = process.communicate()
        if process.returncode != 0:
            said = " ".join(complaint.decode("utf-8", "replace").split())
            raise DataError(f"{self.path}: git {arguments[0]}: {said[:200] or 'failed'}")
        return out


def change_in_history(folder: Path) -> Change | None:
    """The change by which a folder came to the default branch of the checkout around it; None where none can be seen.

    A merge, a squashed pull request and a plain commit each are one change.
    """
    try:
        top = Path(os.fsdecode(Repository(folder).toplevel()))
        repository = Repository(top)
        path = folder.resolve().relative_to(top.resolve()).as_posix()
        commits = repository.touching(path)
        parents = repository.parents(commits[-1]) if commits else ()
        return repository.change(commits[-1], parents[0]) if parents else None
    except (DataError, ValueError):
        return None


class CommitTree(Tree):
    """The files below a folder of a commit; with ``only``, the files of a commit that are named there."""

    def __init__(self, repository: Repository, commit: str, folder: str, only: Sequence[str] = ()) -> None:
        self.repository = repository
        self.commit = commit
        self.folder = folder
        self.name = PurePosixPath(folder).name or commit[:12]
        self._only = tuple(only)[:MOST_ENTRIES]
        self._blobs: dict[str, str] = {}

    def open(self, path: str) -> BinaryIO:
        """A stream over one file."""
        if path not in self.files:
            raise OSError(f"{path}: no such file in the commit")
        return self.repository.stream(self._blobs[path])

    def _list(self) -> Sequence[Entry]:
        found = []
        prefix = f"{self.folder}/" if self.folder else ""
        rows = self.repository.listing(self.commit, [prefix] if prefix else self._only)
        for mode, kind, blob, size, name in rows[:MOST_ENTRIES]:
            path = _text(name).removeprefix(prefix)
            self._blobs[path] = blob
            if kind != "blob":
                found.append(Entry(path=path, kind="special", size_bytes=0, detail=f"a git {kind}"))
            elif mode == "120000":
                with self.repository.stream(blob) as target:
                    leads = target.read(4096).decode("utf-8", "backslashreplace")
                found.append(Entry(path=path, kind="link", size_bytes=size, detail=leads))
            else:
                found.append(Entry(path=path, kind="file", size_bytes=size))
        return found


class _Blob(io.RawIOBase):
    """The output of git, ended with the stream."""

    mode = "rb"
    name = ""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = cast(IO[bytes], self._process.stdout).read(len(buffer))
        if not data and self._process.wait() != 0:
            raise OSError("git could not read the object")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._process.kill()
            self._process.communicate()
        super().close()


def _text(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
