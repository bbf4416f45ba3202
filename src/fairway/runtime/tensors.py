"""Tensors to files and back; nothing that is read holds anything that runs."""

import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor

from fairway.errors import DataError
from fairway.runtime.files import write_bytes_atomic

# The safetensors header keeps metadata in an unordered map; one key keeps the bytes of equal files equal.
_METADATA_KEY = "fairway"


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
