"""The folders inside a zip or tar file, nothing of which is extracted.

Names that lead out of the archive, links, devices, encrypted and repeated entries are listed as what they are and
cannot be opened. What an archive unpacks to is bounded before anything of it is read.
"""

import bz2
import contextlib
import gzip
import io
import lzma
import tarfile
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any, BinaryIO, cast

from fairway.errors import DataError
from fairway.verify.tree import MOST_ENTRIES, Entry, Tree

MOST_UNPACKED_BYTES = 4_000_000_000
"""What all files of an archive may have together."""

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
    RecursionError,
)
"""What the libraries raise over archives that are damaged or made to hurt."""

_OPENERS: tuple[tuple[bytes, Callable[[Path], IO[bytes]]], ...] = (
    (b"\x1f\x8b", lambda path: cast(IO[bytes], gzip.open(path))),
    (b"BZh", lambda path: cast(IO[bytes], bz2.open(path))),
    (b"\xfd7zXZ\x00", lambda path: cast(IO[bytes], lzma.open(path))),
)


class ArchiveTree(Tree):
    """The files below one folder of an archive."""

    def __init__(self, root: str, name: str, found: Mapping[str, Entry], opened: Callable[[str], Any]) -> None:
        self.root = root
        """The folder inside the archive, empty or ending in a slash."""
        self.name = name
        self._found = found
        self._opened = opened

    def open(self, path: str) -> BinaryIO:
        """A stream over one file; an ``OSError`` where the archive is damaged."""
        if path not in self.files:
            raise OSError(f"{path}: no such file in the archive")
        return cast(BinaryIO, io.BufferedReader(_Guarded(self._opened(self.root + path))))

    def _list(self) -> Sequence[Entry]:
        return [
            Entry(path=name.removeprefix(self.root), kind=entry.kind, size_bytes=entry.size_bytes, detail=entry.detail)
            for name, entry in self._found.items()
            if name.startswith(self.root)
        ]


class _Guarded(io.RawIOBase):
    """A stream whose every failure is an ``OSError``."""

    mode = "rb"
    name = ""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._stream.read(len(buffer))
        except OSError:
            raise
        except _BROKEN as error:
            raise OSError(f"the archive is damaged: {error}") from error
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        super().close()


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that can be judged."""
    return path.name.lower().endswith(SUFFIXES)


def read_archive(path: Path) -> tuple[ArchiveTree, ...]:
    """The folders of records in an archive, or all of it as one folder; ``DataError`` if it is no archive."""
    try:
        found, opened = _zip(path) if zipfile.is_zipfile(path) else _tar(path)
    except DataError:
        raise
    except _BROKEN as error:
        raise DataError(f"{path}: no zip or tar that can be read: {' '.join(str(error).split())}") from error
    total = sum(entry.size_bytes for entry in found.values())
    if total > MOST_UNPACKED_BYTES:
        raise DataError(f"{path}: unpacks to {total} bytes, may have {MOST_UNPACKED_BYTES}")
    stem = next((path.name[: -len(end)] for end in SUFFIXES if path.name.lower().endswith(end)), path.name)
    return tuple(
        ArchiveTree(root, PurePosixPath(root).name if root else stem, found, opened) for root in _roots(found.values())
    )


def _roots(entries: Iterable[Entry]) -> list[str]:
    """Folders ``track_<name>/<folder>/``; where there are none, the deepest folder that holds everything."""
    files = [PurePosixPath(entry.path).parts for entry in entries if entry.kind == "file"]
    records = {
        "/".join(parts[: at + 2]) + "/"
        for parts in files
        for at, part in enumerate(parts[:-2])
        if part.startswith("track_")
    }
    if records:
        return sorted(records)
    common: list[str] = []
    if files:
        for level in zip(*(parts[:-1] for parts in files), strict=False):
            if len(set(level)) > 1:
                break
            common.append(level[0])
    return ["".join(f"{part}/" for part in common)]


def _zip(path: Path) -> tuple[dict[str, Entry], Callable[[str], Any]]:
    archive = zipfile.ZipFile(path)
    members = {_plain(info.filename): info for info in archive.infolist() if not info.is_dir()}
    seen: dict[str, int] = {}
    for info in archive.infolist():
        seen[_plain(info.filename)] = seen.get(_plain(info.filename), 0) + 1
    found: dict[str, Entry] = {}
    for name, info in list(members.items())[:MOST_ENTRIES]:
        kind, detail = _judged(name, info.filename, seen[name])
        if info.external_attr >> 28 == 0o12:
            kind, detail = "link", "a symbolic link in an archive"
        elif info.flag_bits & 1:
            kind, detail = "unreadable", "is encrypted"
        found[name] = Entry(path=name, kind=kind, size_bytes=info.file_size, detail=detail)  # type: ignore[arg-type]
    return found, lambda name: archive.open(members[name])


def _tar(path: Path) -> tuple[dict[str, Entry], Callable[[str], Any]]:
    plain = _expanded(path)
    try:
        archive = tarfile.open(fileobj=plain, mode="r:")
        return _tar_members(archive, plain)
    except BaseException:
        plain.close()
        raise


def _tar_members(archive: tarfile.TarFile, plain: IO[bytes]) -> tuple[dict[str, Entry], Callable[[str], Any]]:
    found: dict[str, Entry] = {}
    members: dict[str, tarfile.TarInfo] = {}
    for info in archive:
        if info.isdir():
            continue
        name = _plain(info.name)
        kind, detail = _judged(name, info.name, 2 if name in found else 1)
        if info.issym() or info.islnk():
            kind, detail = "link", info.linkname
        elif not info.isreg():
            kind, detail = "special", "neither file nor folder"
        found[name] = Entry(path=name, kind=kind, size_bytes=info.size, detail=detail)  # type: ignore[arg-type]
        members[name] = info
        if len(found) == MOST_ENTRIES:
            break

    def opened(name: str) -> Any:
        return archive.extractfile(members[name])

    weakref.finalize(opened, plain.close)
    return found, opened


def _expanded(path: Path) -> IO[bytes]:
    """The tar itself, decompressed into a nameless file where it is compressed: members are read in any order."""
    with path.open("rb") as file:
        head = file.read(8)
    opener = next((opener for magic, opener in _OPENERS if head.startswith(magic)), None)
    if opener is None:
        return path.open("rb")
    plain = tempfile.TemporaryFile()
    left = MOST_UNPACKED_BYTES
    with opener(path) as stream, contextlib.ExitStack() as unfinished:
        unfinished.callback(plain.close)
        while chunk := stream.read(1 << 20):
            left -= len(chunk)
            if left < 0:
                raise DataError(f"{path}: unpacks to more than {MOST_UNPACKED_BYTES} bytes")
            plain.write(chunk)
        unfinished.pop_all()
    plain.seek(0)
    return cast(IO[bytes], plain)


def _plain(name: str) -> str:
    """A name as a path below the archive: what leads out of it is spelled out instead of followed."""
    name = name.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _judged(name: str, written: str, times: int) -> tuple[str, str]:
    if written.startswith("/") or "\\" in written or ".." in name.split("/") or not name:
        return "special", f"the name {written!r} leads out of the archive"
    if times > 1:
        return "special", "stands in the archive more than once"
    return "file", ""
