"""A file is there whole or not at all; and what its bytes are called."""

import hashlib
import os
from pathlib import Path

from fairway.errors import DataError


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write ``path`` under a temporary name in its folder, then rename; ``DataError`` if the disk refuses."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        if part.is_file():
            part.unlink()
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text as ``write_bytes_atomic`` does; line ends are kept as they are."""
    write_bytes_atomic(path, text.encode())


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; ``DataError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
