"""The official shard format (recipes A.1): 256 little-endian int32, then one little-endian uint16 a token.

Word 0 of the header is the magic number, word 1 the version, word 2 the number of tokens, the rest is zero; the file
is exactly ``1024 + 2 * tokens`` bytes long.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Int
from torch import Tensor

from fairway.errors import DataError

SHARD_MAGIC = 20240520
SHARD_VERSION = 1
SHARD_HEADER_BYTES = 1024

Split = Literal["train", "val"]
Stream = Literal["train", "val", "val_bytes"]
"""What a row of shards holds: tokens of a split, or the bytes of text of each validation token (recipes A.5)."""
TokenArray = npt.NDArray[np.uint16]

_SHARD_SCAN_TOKENS = 1 << 20


def shard_name(stream: Stream, index: int) -> str:
    """File name of shard ``index`` of a stream, as the published exports have it."""
    return f"fineweb_{stream}_{index:06d}.bin"


def write_shard(path: Path, tokens_N: TokenArray) -> None:
    """Write one shard, complete or not at all."""
    if not 0 < len(tokens_N) < 2**31:
        raise DataError(f"{path}: a shard holds 1..2**31-1 tokens, got {len(tokens_N)}")
    header = np.zeros(SHARD_HEADER_BYTES // 4, dtype="<i4")
    header[:3] = (SHARD_MAGIC, SHARD_VERSION, len(tokens_N))
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            file.write(header.tobytes())
            file.write(np.ascontiguousarray(tokens_N, dtype="<u2").data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if partial.is_file():
            partial.unlink()
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def read_header(path: Path) -> int:
    """Return the number of tokens of a shard whose magic, version and size are right; ``DataError`` otherwise."""
    try:
        with path.open("rb") as file:
            head = file.read(SHARD_HEADER_BYTES)
            size_bytes = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a shard: {error.strerror}") from error
    if len(head) < SHARD_HEADER_BYTES:
        raise DataError(f"{path}: a shard begins with {SHARD_HEADER_BYTES} bytes of header, the file has {size_bytes}")
    magic, version, tokens = (int(word) for word in np.frombuffer(head, dtype="<i4")[:3])
    if magic != SHARD_MAGIC:
        raise DataError(f"{path}: magic number is {magic}, a shard has {SHARD_MAGIC}")
    if version != SHARD_VERSION:
        raise DataError(f"{path}: version is {version}, only {SHARD_VERSION} is known")
    if tokens < 1:
        raise DataError(f"{path}: header promises {tokens} tokens, a shard holds at least 1")
    wanted_bytes = SHARD_HEADER_BYTES + 2 * tokens
    if size_bytes != wanted_bytes:
        raise DataError(f"{path}: {tokens} tokens take {wanted_bytes} bytes, the file has {size_bytes}")
    return tokens


def open_shard(path: Path) -> TokenArray:
    """Map the tokens of a checked shard into memory, read only."""
    tokens = read_header(path)
    return np.memmap(path, dtype="<u2", mode="r", offset=SHARD_HEADER_BYTES, shape=(tokens,))


def read_tokens(shard: TokenArray, start: int, stop: int) -> Int[Tensor, " N"]:
    """Copy tokens ``start..stop-1`` of a mapped shard into an int64 tensor."""
    return torch.from_numpy(shard[start:stop].astype(np.int64))


def find_token(shard: TokenArray, token: int) -> int | None:
    """Position of the first occurrence of ``token``, ``None`` if there is none."""
    for start in range(0, len(shard), _SHARD_SCAN_TOKENS):
        (hits,) = np.nonzero(shard[start : start + _SHARD_SCAN_TOKENS] == token)
        if len(hits):
            return start + int(hits[0])
    return None


def split_files(folder: Path, split: Split) -> list[Path]:
    """Return the shards of one split in order, without byte sidecars; ``DataError`` when there are none or a gap."""
    return _numbered_shards(folder, f"fineweb_{split}_", f"{split} shards (fineweb_{split}_000000.bin, ...)")


def sidecar_files(folder: Path) -> list[Path]:
    """Return the CaseOps byte sidecars of the validation split in order; ``DataError`` when there are none or a gap."""
    return _numbered_shards(folder, "fineweb_val_bytes_", "byte sidecars (fineweb_val_bytes_000000.bin, ...)")


def load_tokens(folder: Path, split: Split) -> Int[Tensor, " N"]:
    """Read all tokens of one split as int32."""
    return load_shards(split_files(folder, split))


def load_shards(files: Sequence[Path]) -> Int[Tensor, " N"]:
    """Read the tokens of some shards, one after the other, as int32."""
    shards = [open_shard(file) for file in files]
    return torch.from_numpy(np.concatenate([shard.astype(np.int32) for shard in shards]))


class ShardWriter:
    """Cuts a growing stream of tokens into shards of equal length, the last one shorter."""

    def __init__(self, folder: Path, stream: Stream, shard_tokens: int) -> None:
        self._folder = folder
        self._stream: Stream = stream
        self._shard_tokens = shard_tokens
        self._pending: list[TokenArray] = []
        self._pending_tokens = 0
        self._files: list[Path] = []

    def add(self, tokens: Iterable[int]) -> None:
        """Append tokens; ids that do not fit 16 bits are our own mistake and overflow loudly."""
        chunk = np.fromiter(tokens, dtype=np.uint16)
        while len(chunk):
            room = self._shard_tokens - self._pending_tokens
            self._pending.append(chunk[:room])
            self._pending_tokens += len(chunk[:room])
            chunk = chunk[room:]
            if self._pending_tokens == self._shard_tokens:
                self._flush()

    def finish(self) -> list[Path]:
        """Write what is left and return all files in order."""
        if self._pending_tokens:
            self._flush()
        return self._files

    def _flush(self) -> None:
        path = self._folder / shard_name(self._stream, len(self._files))
        write_shard(path, np.concatenate(self._pending))
        self._files.append(path)
        self._pending = []
        self._pending_tokens = 0


def _numbered_shards(folder: Path, prefix: str, wanted: str) -> list[Path]:
    pattern = re.compile(re.escape(prefix) + r"(\d{6,})\.bin")
    found: dict[int, Path] = {}
    if folder.is_dir():
        for path in folder.iterdir():
            if match := pattern.fullmatch(path.name):
                found[int(match[1])] = path
    if not found:
        raise DataError(f"{folder}: no {wanted}")
    first = min(found)
    for index in range(first, first + len(found)):
        if index not in found:
            raise DataError(f"{folder}: {prefix}{index:06d}.bin is missing between {min(found)} and {max(found)}")
    return [found[index] for index in sorted(found)]
