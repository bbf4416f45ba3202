"""Tensors and text to files: a file is there whole or not at all, and holds nothing that runs when it is read."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from fairway.errors import DataError

# The safetensors header keeps metadata in an unordered map; one key keeps the bytes of equal files equal.
_METADATA_KEY = "fairway"


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


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write named tensors as a safetensors file; equal contents give equal bytes.

    ``metadata`` lies in the file's header as one JSON object under the key ``fairway``.
    """
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    # Tensors that share storage (a view, a tied weight) cannot be told apart after loading; give each its own.
    seen: set[int] = set()
    for name, tensor in plain.items():
        if tensor.untyped_storage().data_ptr() in seen or tensor.untyped_storage().nbytes() != tensor.nbytes:
            plain[name] = tensor.clone()
        seen.add(plain[name].untyped_storage().data_ptr())
    header = {_METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)}
    write_bytes_atomic(path, safetensors.torch.save(plain, header))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; ``DataError`` if it is damaged or missing."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; it should hold tensors (safetensors)")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a whole safetensors file: {error}") from error


def load_metadata(path: Path) -> dict[str, str]:
    """What ``save_tensors`` put into the header of a file that ``load_tensors`` can read."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(_METADATA_KEY, "{}"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: the metadata is not JSON: {error.msg}") from error
    if not isinstance(metadata, dict):
        raise DataError(f"{path}: the metadata must be a JSON object, got {type(metadata).__name__}")
    return {str(key): str(value) for key, value in metadata.items()}


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; ``DataError`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
