"""A text file that grows line by line, and gets its name when it is whole."""

from pathlib import Path
from types import TracebackType
from typing import TextIO, TypeVar

from fairway.errors import DataError

LinesT = TypeVar("LinesT", bound="LineFile")


class LineFile:
    """Appends lines to ``path.part`` and gives the file its name when the block ends without an exception.

    With ``path`` None nothing is written.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._file: TextIO | None = None

    def __enter__(self: LinesT) -> LinesT:
        """Open the file; what an interrupted run left behind is overwritten."""
        if self.path is not None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._part(self.path).open("w", encoding="utf-8", newline="\n")
            except OSError as error:
                raise self._unwritable(error) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Rename on success; after an exception the ``.part`` file stays for whoever looks for the cause."""
        if self._file is None or self.path is None:
            return
        try:
            self._file.close()
            if kind is None:
                self._part(self.path).replace(self.path)
        except OSError as broken:
            if kind is None:
                raise self._unwritable(broken) from broken

    def write_line(self, line: str) -> None:
        """Append one line, flushed; ``DataError`` if the disk is full."""
        if self._file is None:
            return
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    @staticmethod
    def _part(path: Path) -> Path:
        return path.with_name(path.name + ".part")

    def _unwritable(self, error: OSError) -> DataError:
        return DataError(f"{self.path}: cannot be written: {error.strerror or error}")
