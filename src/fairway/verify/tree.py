"""The files of anything that can be judged, wherever they lie: a folder, an archive, a commit.

Nothing is followed, extracted or run. What is no plain file is listed as what it is, and every reading is bounded.
"""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

from fairway.errors import DataError

Kind = Literal["file", "link", "special", "unreadable"]

MOST_ENTRIES = 10_000
MOST_DEPTH = 64
"""Of folders in folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing in a folder. Folders themselves are not listed."""

    path: str
    """Inside the folder, with forward slashes; bytes that are no UTF-8 as ``\\xNN``."""
    kind: Kind
    size_bytes: int
    detail: str = ""
    """Where a link leads, or why a file cannot be read."""


class Tree(ABC):
    """The files below one folder."""

    name: str
    """Name of the folder, without the path to it."""

    @cached_property
    def entries(self) -> Sequence[Entry]:
        """Everything below the folder, sorted by path; at most ``MOST_ENTRIES``."""
        return tuple(sorted(self._list(), key=lambda entry: entry.path))

    @cached_property
    def files(self) -> dict[str, Entry]:
        """The plain files, by path."""
        return {entry.path: entry for entry in self.entries if entry.kind == "file"}

    def read(self, path: str, limit_bytes: int) -> bytes:
        """The bytes of a file; ``DataError`` if it has more than ``limit_bytes`` or cannot be read."""
        try:
            with self.open(path) as stream:
                data = stream.read(limit_bytes + 1)
        except (OSError, EOFError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        if len(data) > limit_bytes:
            raise DataError(f"{path}: has more than {limit_bytes} bytes")
        return data

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """A stream over one file; what reads it must bound what it takes."""

    @abstractmethod
    def _list(self) -> Sequence[Entry]:
        """Everything below the folder, in any order."""


class FolderTree(Tree):
    """The files below a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name

    def open(self, path: str) -> BinaryIO:
        """A stream over one plain file; an ``OSError`` for anything else, which is never followed or waited for."""
        descriptor = os.open(self.folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(f"{path}: is no plain file")
        return os.fdopen(descriptor, "rb")

    def _list(self) -> Sequence[Entry]:
        found: list[Entry] = []
        waiting = [self.folder]
        while waiting and len(found) < MOST_ENTRIES:
            folder = waiting.pop()
            try:
                below = sorted(folder.iterdir())
            except OSError as error:
                where = folder.relative_to(self.folder).as_posix()
                found.append(Entry(path=where, kind="unreadable", size_bytes=0, detail=error.strerror or "unreadable"))
                continue
            for path in below:
                # What is too deep to be looked at is listed as such, not as an error of the judge.
                if len(path.relative_to(self.folder).parts) <= MOST_DEPTH and _is_folder(path):
                    waiting.append(path)
                else:
                    found.append(self._entry(path))
        return found[:MOST_ENTRIES]

    def _entry(self, path: Path) -> Entry:
        name = path.relative_to(self.folder).as_posix().encode("utf-8", "backslashreplace").decode()
        try:
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                return Entry(path=name, kind="link", size_bytes=0, detail=str(path.readlink()))
            if not stat.S_ISREG(status.st_mode):
                return Entry(path=name, kind="special", size_bytes=0, detail=stat.filemode(status.st_mode))
            with path.open("rb"):
                return Entry(path=name, kind="file", size_bytes=status.st_size)
        except OSError as error:
            return Entry(path=name, kind="unreadable", size_bytes=0, detail=error.strerror or type(error).__name__)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir() and not path.is_symlink()
    except OSError:
        return False
