"""Bytes of UTF-8 text that each token stands for: the denominator of bits per byte (recipes A.4).

The text of a token depends on the one before it: a piece that begins with U+2581 stands for a space and its letters,
but directly after a token without text (BOS above all) there is no space to stand for.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Bool, Int, Int32
from sentencepiece import SentencePieceProcessor
from torch import Tensor

from fairway.data.shards import load_shards, read_header, sidecar_files, split_files
from fairway.errors import DataError

SPACE_PIECE = "\u2581"
"""How SentencePiece writes a space."""

_BYTE_COUNT_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class ByteTable:
    """Look-up tables by token id."""

    base_bytes_V: Int32[Tensor, " V"]
    """UTF-8 length of the piece without one leading U+2581; 1 for a byte piece; 0 for pieces without text."""
    leading_space_V: Bool[Tensor, " V"]
    """The piece begins with U+2581."""
    boundary_V: Bool[Tensor, " V"]
    """The piece has no text: control, unknown or unused."""

    @classmethod
    def from_tokenizer(cls, path: Path) -> "ByteTable":
        """Build the tables from a SentencePiece model.

        ``DataError`` if pieces begin with U+2581 but no piece is U+2581 alone: a space that stands by itself would
        then be spelled in byte pieces and count as three bytes.
        """
        processor = load_tokenizer(path)
        base_bytes: list[int] = []
        leading_space: list[bool] = []
        boundary: list[bool] = []
        for token in range(processor.get_piece_size()):
            piece = processor.id_to_piece(token)
            has_no_text = processor.is_control(token) or processor.is_unknown(token) or processor.is_unused(token)
            is_byte = processor.is_byte(token)
            spaced = piece.startswith(SPACE_PIECE) and not has_no_text and not is_byte
            boundary.append(has_no_text)
            leading_space.append(spaced)
            if has_no_text:
                base_bytes.append(0)
            elif is_byte:
                base_bytes.append(1)
            else:
                base_bytes.append(len(piece.removeprefix(SPACE_PIECE).encode()))
        if any(leading_space) and not any(s and b == 0 for s, b in zip(leading_space, base_bytes, strict=True)):
            raise DataError(f"{path}: pieces begin with U+2581 but none is U+2581 alone, so bytes cannot be counted")
        return cls(torch.tensor(base_bytes, dtype=torch.int32), torch.tensor(leading_space), torch.tensor(boundary))

    @property
    def vocab_size(self) -> int:
        """Pieces of the tokenizer."""
        return len(self.base_bytes_V)

    def of_targets(self, tokens_N: Int[Tensor, " N"]) -> Int32[Tensor, " N"]:
        """Bytes of each token of a stream as target after the token before it; position 0 is no target and has 0."""
        if len(tokens_N) and not 0 <= int(tokens_N.min()) <= int(tokens_N.max()) < self.vocab_size:
            raise DataError(
                f"token ids {int(tokens_N.min())}..{int(tokens_N.max())} do not fit a tokenizer of {self.vocab_size}"
            )
        bytes_N = torch.zeros(len(tokens_N), dtype=torch.int32)
        # In chunks, so that 6e7 tokens need no gigabytes of int64 indices.
        for start in range(1, len(tokens_N), _BYTE_COUNT_CHUNK):
            targets_M = tokens_N[start : start + _BYTE_COUNT_CHUNK].long()
            before_M = tokens_N[start - 1 : start - 1 + len(targets_M)].long()
            space_M = self.leading_space_V[targets_M] & ~self.boundary_V[before_M]
            bytes_N[start : start + len(targets_M)] = self.base_bytes_V[targets_M] + space_M
        return bytes_N

    def total(self, tokens_N: Int[Tensor, " N"]) -> int:
        """Bytes of all targets of a stream, summed in float64 like every sum of the metric."""
        return int(self.of_targets(tokens_N).sum(dtype=torch.float64))


def load_tokenizer(path: Path) -> SentencePieceProcessor:
    """Load a SentencePiece model; ``DataError`` if the file is not one."""
    try:
        return SentencePieceProcessor(model_proto=path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a tokenizer: {error.strerror}") from error
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path}: is not a SentencePiece model") from error


def sidecar_bytes(folder: Path) -> Int[Tensor, " N"]:
    """Bytes of each validation token as the CaseOps sidecars give them (recipes A.5).

    ``DataError`` unless there is a sidecar of equal length for each validation shard.
    """
    shards, sidecars = split_files(folder, "val"), sidecar_files(folder)
    if len(shards) != len(sidecars):
        raise DataError(f"{folder}: {len(shards)} validation shards but {len(sidecars)} byte sidecars")
    for shard, sidecar in zip(shards, sidecars, strict=True):
        tokens, counts = read_header(shard), read_header(sidecar)
        if tokens != counts:
            raise DataError(f"{sidecar}: {counts} byte counts for the {tokens} tokens of {shard.name}")
    return load_shards(sidecars)


def has_sidecars(folder: Path) -> bool:
    """Are bytes of the validation tokens given by sidecars instead of the tokenizer."""
    return any(folder.glob("fineweb_val_bytes_*.bin"))


def target_bytes(folder: Path, tokens_N: Int[Tensor, " N"], tokenizer: Path) -> Int[Tensor, " N"]:
    """Bytes of each validation token as target, from sidecars if the folder has them, else from the tokenizer.

    Position 0 is no target and has 0.
    """
    if not has_sidecars(folder):
        return ByteTable.from_tokenizer(tokenizer).of_targets(tokens_N)
    return sidecar_targets(folder, tokens_N)


def sidecar_targets(folder: Path, tokens_N: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
    """``sidecar_bytes`` of a stream that was read from the same folder; position 0 is no target and has 0."""
    bytes_N = sidecar_bytes(folder)
    if len(bytes_N) != len(tokens_N):
        raise DataError(f"{folder}: byte sidecars count {len(bytes_N)} tokens, the shards have {len(tokens_N)}")
    bytes_N[0] = 0
    return bytes_N
