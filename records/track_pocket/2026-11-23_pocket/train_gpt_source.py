"""pocket: the whole competition on a laptop's CPU in minutes, with every mechanism of the full recipe switched on.

This file is the program of one recipe (fa1e601d99631b0b61d73198c7bb60e96c0a8b42b3e69f5f314223cb1b6adc94),
made by fairway from its modules: what the recipe never takes is left out. `train_gpt.py` is the same program, minified
and compressed. Run it whole (`python {this file}`, or torchrun) or by stages (`--stage`); `launch` below says how.
"""

from __future__ import annotations

import brotli
import constriction
import copy
import functools
import hashlib
import json
import math
import numpy as np
import numpy.typing as npt
import operator
import os
import platform
import re
import resource
import safetensors
import safetensors.torch
import struct
import sys
import time
import torch
import torch.distributed as dist
import torch.nn.functional as F
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from enum import StrEnum
from itertools import chain
from math import isqrt, prod
from pathlib import Path
from sentencepiece import SentencePieceProcessor
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from types import TracebackType
from typing import Any, Literal, NamedTuple, NoReturn, Protocol, TextIO, TypeGuard, TypeVar, cast, runtime_checkable


# ---- fairway.errors --------------------------------------------------------------------------------------------------
# The tree of errors a user can cause.


class FairwayError(Exception):
    """Base of everything a user can cause."""


class RecipeError(FairwayError):
    """A recipe names an unknown key, a wrong type, or values that exclude each other."""


class DataError(FairwayError):
    """A shard, tokenizer or corpus is damaged, missing or mixed up."""


class GateError(FairwayError):
    """A numerical gate failed; going on would ship a worse model silently."""


class ArtifactError(FairwayError):
    """An artifact is truncated, corrupted or not an artifact."""


class MalformedError(ArtifactError):
    """An artifact whose digest may hold and whose content our writer never makes.

    The program that ships reads what it wrote itself, and checks the digest; whoever reads others' files needs more.
    """


class RefereeError(FairwayError):
    """An evaluation method tried to score twice, skip a token, or learn before scoring."""


# ---- fairway.spec.data -----------------------------------------------------------------------------------------------
# Corpus, tokenizer and split.


BOS = 1
"""Beginning of document, the same id in every tokenizer of the track."""


# ---- fairway.data.documents ------------------------------------------------------------------------------------------
# Documents inside a flat stream of tokens: each begins with BOS, none ends with a token of its own (recipes A.2).


_SEGMENT_BOUNDS_MULTIPLE = 64


def document_starts(tokens_N: Tensor, bos: int = BOS) -> Tensor:
    """Positions of all BOS tokens, ascending."""
    return (tokens_N == bos).nonzero().flatten()


def document_lengths(tokens_N: Tensor, bos: int = BOS) -> list[int]:
    """Tokens of each document, BOS included; they add up to ``N``.

    ``DataError`` if the stream does not begin with a document.
    """
    starts = document_starts(tokens_N, bos)
    if len(starts) == 0 or int(starts[0]) != 0:
        raise DataError(f"a stream of documents begins with BOS (id {bos}), this one with {tokens_N[:1].tolist()}")
    end = torch.tensor([len(tokens_N)], device=tokens_N.device)
    lengths: list[int] = torch.diff(starts, append=end).tolist()
    return lengths


def segment_bounds(tokens_N: Tensor, max_len: int, bos: int = BOS) -> Tensor:
    """Bounds of the pieces a packed row falls into, for variable-length attention (recipes A.6.4).

    A piece begins at position 0, at every BOS, and every ``max_len`` tokens within a document; the last bound is
    ``N``, repeated until the number of bounds is a multiple of 64, so that a compiler sees few shapes.
    """
    total = len(tokens_N)
    assert total > 0 and max_len > 0, (total, max_len)
    starts = document_starts(tokens_N, bos)
    edges = torch.cat([starts.new_zeros(1), starts[starts > 0], starts.new_tensor([total])])
    pieces = (edges.diff() + max_len - 1) // max_len
    before = pieces.cumsum(0) - pieces
    piece_in_document = torch.arange(int(pieces.sum()), device=starts.device) - before.repeat_interleave(pieces)
    bounds = edges[:-1].repeat_interleave(pieces) + piece_in_document * max_len
    padding = _SEGMENT_BOUNDS_MULTIPLE - len(bounds) % _SEGMENT_BOUNDS_MULTIPLE
    return torch.cat([bounds, bounds.new_full((padding,), total)]).to(torch.int32)


# ---- fairway.data.shards ---------------------------------------------------------------------------------------------
# The official shard format (recipes A.1): 256 little-endian int32, then one little-endian uint16 a token.


SHARD_MAGIC = 20240520
SHARD_VERSION = 1
SHARD_HEADER_BYTES = 1024

Split = Literal["train", "val"]
TokenArray = npt.NDArray[np.uint16]

_SHARD_SCAN_TOKENS = 1 << 20


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


def read_tokens(shard: TokenArray, start: int, stop: int) -> Tensor:
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


def load_tokens(folder: Path, split: Split) -> Tensor:
    """Read all tokens of one split as int32."""
    return load_shards(split_files(folder, split))


def load_shards(files: Sequence[Path]) -> Tensor:
    """Read the tokens of some shards, one after the other, as int32."""
    shards = [open_shard(file) for file in files]
    return torch.from_numpy(np.concatenate([shard.astype(np.int32) for shard in shards]))


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


# ---- fairway.data.batches --------------------------------------------------------------------------------------------
# Endless streams of training rows, the same for any number of ranks.


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch of one rank."""

    inputs_BT: Tensor
    targets_BT: Tensor
    cu_seqlens: Tensor | None
    """Bounds of the pieces that may attend to each other; absent when every row is one piece."""

    def to(self, device: torch.device) -> "Batch":
        """Return the same batch on a device."""
        bounds = None if self.cu_seqlens is None else self.cu_seqlens.to(device, non_blocking=True)
        return Batch(
            self.inputs_BT.to(device, non_blocking=True), self.targets_BT.to(device, non_blocking=True), bounds
        )


class TokenBatches(ABC):
    """Iterator without end; ``reset`` goes back to the first span."""

    def __init__(self, files: Sequence[Path], *, tokens: int, context: int, rank: int, world: int) -> None:
        assert tokens > 0 and context > 0 and 0 <= rank < world, (tokens, context, rank, world)
        if not files:
            raise DataError("no shards to take batches from")
        self._files = list(files)
        self._shards: list[TokenArray] = [open_shard(file) for file in files]
        self._span = tokens + 1
        self._context = context
        self._rank = rank
        self._world = world
        self.reset()

    def __iter__(self) -> Iterator[Batch]:
        """Return itself, where it stands."""
        return self

    def __next__(self) -> Batch:
        """Return the next span of this rank; there always is one."""
        places = [self._next_place() for _ in range(self._world)]
        return self._batch(self._read(places[self._rank]))

    @abstractmethod
    def reset(self) -> None:
        """Go back to the first span."""

    @abstractmethod
    def _next_place(self) -> Any:
        """Where the next span lies (shard and position, or several of them), and step over it."""

    @abstractmethod
    def _read(self, place: Any) -> Tensor:
        """Tokens of the span at a place."""

    @abstractmethod
    def _batch(self, span_N: Tensor) -> Batch:
        """Shape a span into rows."""


class PackedBatches(TokenBatches):
    """One flat row a micro-batch, its documents kept apart by bounds (#1530)."""

    def __init__(self, files: Sequence[Path], *, tokens: int, context: int, rank: int, world: int) -> None:
        super().__init__(files, tokens=tokens, context=context, rank=rank, world=world)
        # A shard may begin inside a document; what comes before its first BOS has lost its beginning.
        self._first_bos: list[int] = []
        for file, shard in zip(self._files, self._shards, strict=True):
            first = find_token(shard, BOS)
            if first is None:
                raise DataError(f"{file}: no document begins here (no token {BOS})")
            self._first_bos.append(first)
        room = max(len(shard) - first for shard, first in zip(self._shards, self._first_bos, strict=True))
        if room < self._span:
            raise DataError(
                f"a micro-batch of {self._span - 1} tokens needs a shard with {self._span} from its first document on;"
                f" the longest under {self._files[0].parent} has {room}"
            )

    def reset(self) -> None:
        """Go back to the first document of the first shard."""
        self._shard = 0
        self._cursor: int | None = None

    def _next_place(self) -> tuple[int, int]:
        # The constructor has seen that at least one shard holds a span, so this ends.
        while True:
            start = self._first_bos[self._shard] if self._cursor is None else self._cursor
            if start + self._span <= len(self._shards[self._shard]):
                self._cursor = start + self._span
                return self._shard, start
            self._shard = (self._shard + 1) % len(self._shards)
            self._cursor = None

    def _read(self, place: tuple[int, int]) -> Tensor:
        shard, start = place
        return read_tokens(self._shards[shard], start, start + self._span)

    def _batch(self, span_N: Tensor) -> Batch:
        inputs_N, targets_N = span_N[:-1], span_N[1:]
        return Batch(inputs_N[None], targets_N[None], segment_bounds(inputs_N, self._context))


# ---- fairway.data.byte_counts ----------------------------------------------------------------------------------------
# Bytes of UTF-8 text that each token stands for: the denominator of bits per byte (recipes A.4).


SPACE_PIECE = "\u2581"
"""How SentencePiece writes a space."""

_BYTE_COUNT_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True)
class ByteTable:
    """Look-up tables by token id."""

    base_bytes_V: Tensor
    """UTF-8 length of the piece without one leading U+2581; 1 for a byte piece; 0 for pieces without text."""
    leading_space_V: Tensor
    """The piece begins with U+2581."""
    boundary_V: Tensor
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

    def of_targets(self, tokens_N: Tensor) -> Tensor:
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


def load_tokenizer(path: Path) -> SentencePieceProcessor:
    """Load a SentencePiece model; ``DataError`` if the file is not one."""
    try:
        return SentencePieceProcessor(model_proto=path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read as a tokenizer: {error.strerror}") from error
    except (RuntimeError, ValueError) as error:
        raise DataError(f"{path}: is not a SentencePiece model") from error


def sidecar_bytes(folder: Path) -> Tensor:
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


def target_bytes(folder: Path, tokens_N: Tensor, tokenizer: Path) -> Tensor:
    """Bytes of each validation token as target, from sidecars if the folder has them, else from the tokenizer.

    Position 0 is no target and has 0.
    """
    if not has_sidecars(folder):
        return ByteTable.from_tokenizer(tokenizer).of_targets(tokens_N)
    return sidecar_targets(folder, tokens_N)


def sidecar_targets(folder: Path, tokens_N: Tensor) -> Tensor:
    """``sidecar_bytes`` of a stream that was read from the same folder; position 0 is no target and has 0."""
    bytes_N = sidecar_bytes(folder)
    if len(bytes_N) != len(tokens_N):
        raise DataError(f"{folder}: byte sidecars count {len(bytes_N)} tokens, the shards have {len(tokens_N)}")
    bytes_N[0] = 0
    return bytes_N


# ---- fairway.kernels.varlen_attention --------------------------------------------------------------------------------
# Causal attention over dense rows, and over documents packed one after another in a flat row.


class Packing(NamedTuple):
    """Where each token of a flat row stands in the padded batch of its segments, and back.

    ``padded_from_flat`` names, for each place of the padded batch, the flat token that fills it (any token for
    padding); ``flat_from_padded`` names each flat token's place; ``positions`` count from its segment's start.
    """

    segments: int
    max_len: int
    padded_from_flat: Tensor
    flat_from_padded: Tensor
    positions: Tensor


def pack_segments(cu_seqlens: Tensor, tokens: int, max_len: int) -> Packing:
    """Index tables for segments ``cu_seqlens[i]..cu_seqlens[i+1]`` of a flat row, made once a forward.

    Segments must cover the row and none may be longer than ``max_len``; zero-length segments at the end (the
    padding of ``cu_seqlens``) are dropped, except while tracing, where the number of rows must not depend on
    values.
    """
    bounds = cu_seqlens.long()
    starts, lengths = bounds[:-1], bounds.diff()
    if not torch.compiler.is_compiling():
        if int(bounds[0]) != 0 or int(bounds[-1]) != tokens or int(lengths.min()) < 0:
            raise ValueError(f"cu_seqlens must rise from 0 to {tokens}, got {bounds[0]}..{bounds[-1]}")
        if int(lengths.max()) > max_len:
            raise ValueError(f"segments must have at most {max_len} tokens, got {int(lengths.max())}")
        starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    flat = torch.arange(tokens, device=bounds.device)
    segment = torch.searchsorted(starts, flat, right=True) - 1
    positions = flat - starts[segment]
    offsets = torch.arange(max_len, device=bounds.device)
    source = starts[:, None] + torch.minimum(offsets, (lengths - 1).clamp_min(0)[:, None])
    return Packing(
        segments=starts.shape[0],
        max_len=max_len,
        padded_from_flat=source.clamp_max(tokens - 1).flatten(),
        flat_from_padded=segment * max_len + positions,
        positions=positions,
    )


class _GatherRows(torch.autograd.Function):
    """Rows by index, for an index whose inverse is known: the gradient is a gather too, not a scatter-add.

    Right only where rows that ``inverse`` does not name get no gradient, as padding does not.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return grad.index_select(0, inverse), None, None


def _gather_rows(rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
    return cast(Tensor, _GatherRows.apply(rows, index, inverse))


def causal_attention(
    q_BTHK: Tensor, k_BTGK: Tensor, v_BTGK: Tensor
) -> Tensor:
    """Each query attends to its own and all earlier positions of its row; ``H / G`` query heads share a key head."""
    y_BHTK = F.scaled_dot_product_attention(
        q_BTHK.transpose(1, 2),
        k_BTGK.transpose(1, 2),
        v_BTGK.transpose(1, 2),
        is_causal=True,
        enable_gqa=q_BTHK.shape[2] != k_BTGK.shape[2],
    )
    return y_BHTK.transpose(1, 2)


def segment_attention(
    q_NHK: Tensor, k_NGK: Tensor, v_NGK: Tensor, packing: Packing
) -> Tensor:
    """``causal_attention`` inside each segment of a flat row."""
    into, back = packing.padded_from_flat, packing.flat_from_padded
    rows = (packing.segments, packing.max_len)
    y_BTHK = causal_attention(
        _gather_rows(q_NHK, into, back).unflatten(0, rows),
        _gather_rows(k_NGK, into, back).unflatten(0, rows),
        _gather_rows(v_NGK, into, back).unflatten(0, rows),
    )
    return y_BTHK.flatten(0, 1).index_select(0, back)


# ---- fairway.kernels.softcap_ce --------------------------------------------------------------------------------------
# Cross-entropy of softcapped logits, forward and gradient in one pass over cache-sized blocks.


_CE_BLOCK_ENTRIES = 1 << 18
"""Logits treated at once: a megabyte of float32 stays in a core's cache over the few passes a block needs."""


def softcap(logits: Tensor, cap: float) -> Tensor:
    """``cap * tanh(logits / cap)``: near the identity around 0, never beyond ``cap``."""
    return torch.tanh(logits / cap) * cap


class _SoftcapCe(torch.autograd.Function):
    """The gradient is known with the value, so it is written in the forward and only scaled in the backward."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor, cap: float) -> Tensor:
        rows, vocab = logits.shape
        nats = logits.new_empty(rows, dtype=torch.float32)
        grad = torch.empty_like(logits, dtype=torch.float32) if ctx.needs_input_grad[0] else None
        block = max(1, _CE_BLOCK_ENTRIES // vocab)
        for start in range(0, rows, block):
            stop = min(start + block, rows)
            target = targets[start:stop, None]
            t = (logits[start:stop].float() * (1.0 / cap)).tanh_()
            z = t * cap
            z_target = z.gather(1, target).squeeze(1)
            # z lies in -cap..cap, so e^(z - max) neither overflows nor do all terms vanish.
            top = z.amax(dim=1, keepdim=True)
            p = z.sub_(top).exp_()
            total = p.sum(dim=1, keepdim=True)
            torch.sub(total.log().add_(top).squeeze(1), z_target, out=nats[start:stop])
            if grad is not None:
                p.div_(total).scatter_add_(1, target, p.new_full((), -1.0).expand(stop - start, 1))
                torch.addcmul(p, p, t.square_(), value=-1.0, out=grad[start:stop])
        ctx.save_for_backward(grad)
        ctx.logits_dtype = logits.dtype
        return nats

    @staticmethod
    def backward(ctx: Any, nats_grad: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = ctx.saved_tensors
        return (grad * nats_grad[:, None]).to(ctx.logits_dtype), None, None


def softcap_ce(raw_logits_NV: Tensor, targets_N: Tensor, cap: float) -> Tensor:
    """Nats of each target under ``softmax(softcap(raw_logits))``, float32."""
    return cast(Tensor, _SoftcapCe.apply(raw_logits_NV, targets_N.long(), cap))


# ---- fairway.spec.model ----------------------------------------------------------------------------------------------
# Sizes and mechanisms of the one forward (recipes B.5).


@dataclass(frozen=True, slots=True, kw_only=True)
class Loops:
    """Depth recurrence: layers ``first..last`` run ``1 + extra`` times once a fraction of training is over (#1394)."""

    first: int
    last: int
    extra: int
    start_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoLanes:
    """From layer ``start`` on attention and MLP run side by side on two residual lanes (#1529, split as #1530)."""

    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A decoder with tied embedding and banked weights; what defaults leave out is ``fairway.spec.mechanisms``."""

    vocab_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    mlp_width: int
    rope_dims: int
    """Leading dimensions of a head that rotate (partial RoPE)."""
    rope_base: float
    qk_gain: float
    softcap: float
    xsa_last: int
    """Exclusive self attention on so many last layers; 0 switches it off."""
    negative_slope: float
    """Of the leaky ReLU that is squared in the MLP."""
    embedding_std: float
    start: Literal["orthogonal", "uniform"]
    """Of Q, K, V and MLP up; ``uniform`` is within 1/sqrt(inputs), PyTorch's own."""
    loops: Loops
    lanes: TwoLanes

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Channels of all key heads together."""
        return self.kv_heads * self.head_width


# ---- fairway.spec.roles ----------------------------------------------------------------------------------------------
# Parameter name to role: total over the model, decided once.


class Role(StrEnum):
    """What a tensor does in the model."""

    EMBEDDING = "embedding"
    """Tables with a row a token, or a hash of tokens; the token embedding is the head too."""
    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    ATTN_OUT = "attn_out"
    MLP_UP = "mlp_up"
    MLP_DOWN = "mlp_down"
    CONTROL = "control"
    """Scales, gains, mixes, gates and small maps: kept as they are."""
    CORRECTION = "correction"
    """Factors of what is added to a rounded matrix, rows of rounded gates; no parameter of a model."""


ATTENTION_ROLES = (Role.QUERY, Role.KEY, Role.VALUE, Role.ATTN_OUT)
MLP_ROLES = (Role.MLP_UP, Role.MLP_DOWN)
MATRIX_ROLES = ATTENTION_ROLES + MLP_ROLES

_PART_ROLES = {
    "q": Role.QUERY,
    "q_in": Role.QUERY,
    "q_out": Role.QUERY,
    "k": Role.KEY,
    "v": Role.VALUE,
    "o": Role.ATTN_OUT,
    "up": Role.MLP_UP,
    "down": Role.MLP_DOWN,
}
BANK = "_bank"
"""How the names of parameters end that hold one matrix of each layer, or two."""
_MATRIX_NAME = re.compile(r"(?:raw_)?blocks\.(\d+)\.(\w+)")
_CONTROL_NAME = re.compile(r"\w+_(scale|gain|mix|weight|gate|decay|bias)")
"""A control parameter's name ends in what it is."""


def matrix_name(layer: int, part: str) -> str:
    """Name of one matrix outside its bank, e.g. ``blocks.3.up``."""
    if part not in _PART_ROLES:
        raise ValueError(f"part must be one of {', '.join(_PART_ROLES)}, got {part!r}")
    return f"blocks.{layer}.{part}"


def split_matrix_name(name: str) -> tuple[int, str]:
    """Layer and part of ``blocks.<layer>.<part>``; ``ValueError`` for any other name."""
    match = _MATRIX_NAME.fullmatch(name)
    if match is None or match[2] not in _PART_ROLES:
        raise ValueError(f"a matrix is named blocks.<layer>.<{'|'.join(_PART_ROLES)}>, got {name!r}")
    return int(match[1]), match[2]


def is_named(name: str) -> bool:
    """Whether a tensor outside its bank may be called so."""
    try:
        role_of(name)
    except ValueError:
        return False
    return True


def role_of(name: str) -> Role:
    """Role of a tensor outside its bank; ``ValueError`` for a name nobody declared."""
    if name.endswith("embedding"):
        return Role.EMBEDDING
    if _CONTROL_NAME.fullmatch(name):
        return Role.CONTROL
    if name.endswith((".left", ".right", ".rows")):
        return Role.CORRECTION
    _, part = split_matrix_name(name)
    return _PART_ROLES[part]


# ---- fairway.model.banks ---------------------------------------------------------------------------------------------
# Banks to single matrices and back, for everything that speaks of one matrix at a time.


def bank_parts(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Parts of each bank, one after another, each over all layers."""
    parts = {"qo_bank": ("q", "o"), "kv_bank": ("k", "v"), "up_bank": ("up",), "down_bank": ("down",)}
    return parts


def unbank(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """The same weights with ``blocks.<layer>.<part>`` for each matrix; all other names stay. Slices are views."""
    matrices: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not name.endswith(BANK):
            matrices[name] = tensor
            continue
        parts = bank_parts(spec)[name]
        if tensor.shape[0] != spec.layers * len(parts):
            raise ValueError(f"{name} must hold {spec.layers * len(parts)} matrices, got {tensor.shape[0]}")
        for i, matrix in enumerate(tensor.unbind()):
            matrices[matrix_name(i % spec.layers, parts[i // spec.layers])] = matrix
    return matrices


def bank(matrices: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """The inverse of ``unbank``: a state dict that ``Gpt`` loads; ``ValueError`` names a matrix that is missing."""
    state: dict[str, Tensor] = {}
    layers, banks = range(spec.layers), bank_parts(spec)
    banked = [matrix_name(i, part) for parts in banks.values() for part in parts for i in layers]
    missing = [name for name in banked if name not in matrices]
    if missing:
        raise ValueError(f"matrices missing for {spec.layers} layers: {', '.join(missing)}")
    for name, tensor in matrices.items():
        if name not in banked:
            if name.startswith("blocks."):
                layer, _ = split_matrix_name(name)
                raise ValueError(f"{name} is of layer {layer}, but there are {spec.layers} layers")
            state[name] = tensor
    for name, parts in banks.items():
        state[name] = torch.stack([matrices[matrix_name(i, part)] for part in parts for i in layers])
    return state


# ---- fairway.kernels.channel_sum -------------------------------------------------------------------------------------
# Sums of streams, each weighted by channel: what joins the residual stream, its skips and its lanes.


class _ChannelSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, terms: int, *given: Tensor | None) -> Tensor:
        streams, weights = given[:terms], given[terms:]
        ctx.terms = terms
        ctx.save_for_backward(*given)
        total: Tensor | None = None
        for x, w in zip(streams, weights, strict=True):
            assert x is not None
            if total is None:
                total = x if w is None else x * w
            else:
                total = total + x if w is None else torch.addcmul(total, x, w)
        assert total is not None
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        streams, weights = saved[: ctx.terms], saved[ctx.terms :]
        needs_x, needs_w = ctx.needs_input_grad[1 : 1 + ctx.terms], ctx.needs_input_grad[1 + ctx.terms :]
        x_grads = [
            None if not needed else grad if w is None else grad * w for w, needed in zip(weights, needs_x, strict=True)
        ]
        w_grads = [
            (grad * x).flatten(0, -2).sum(0) if needed else None for x, needed in zip(streams, needs_w, strict=True)
        ]
        return None, *x_grads, *w_grads


def channel_sum(*terms: tuple[Tensor, Tensor | None]) -> Tensor:
    """``sum of weight * stream`` over (stream, weight) pairs of at least two; no weight counts as one.

    Autograd's own rule for a fused multiply-add spends one more pass over memory on each term.
    """
    assert len(terms) >= 2
    if torch.compiler.is_compiling():
        # A compiler fuses the plain sum itself, and refuses custom functions that are given one tensor twice.
        return functools.reduce(operator.add, (x if w is None else x * w for x, w in terms))
    return cast(Tensor, _ChannelSum.apply(len(terms), *(x for x, _ in terms), *(w for _, w in terms)))


# ---- fairway.kernels.norms -------------------------------------------------------------------------------------------
# Root-mean-square normalisation whose gradient is four passes instead of the dozen that autograd composes.


RMS_EPS = torch.finfo(torch.float32).eps
"""Added to each mean square, in every norm of the model."""


def inverse_rms(x: Tensor) -> Tensor:
    """``1 / sqrt(mean(x**2) + eps)`` over the last axis, at least in float32."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=dtype)
    return norm.square_().div_(x.shape[-1]).add_(RMS_EPS).rsqrt_()


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        r = inverse_rms(x).mul_(scale)
        y = (x * r).to(x.dtype)
        ctx.save_for_backward(y, r)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        # With y = scale rho x: dx = scale rho (dy - y mean(dy y) / scale**2).
        y, r = ctx.saved_tensors
        along = (grad * y).sum(-1, keepdim=True, dtype=r.dtype).mul_(-1.0 / (ctx.scale**2 * y.shape[-1]))
        return (torch.addcmul(grad, y, along.to(y.dtype)) * r).to(grad.dtype), None


def scaled_rms_norm(x: Tensor, scale: float = 1.0) -> Tensor:
    """``x`` divided by its root mean square over the last axis, times a positive constant; no learned gain."""
    return cast(Tensor, _RmsNorm.apply(x, scale))


# ---- fairway.kernels.exclusive ---------------------------------------------------------------------------------------
# Exclusive self attention: what a position's own value says is taken out of its attention output (recipes B.3).


_XSA_EPS = 1e-12


class _ExcludeSelf(torch.autograd.Function):
    """On tensors (..., G, R, K) and (..., G, 1, K): the R query heads of a group share their value by broadcasting."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, v: Tensor) -> Tensor:
        dtype = torch.promote_types(y.dtype, torch.float32)
        inverse = torch.linalg.vector_norm(v, dim=-1, keepdim=True, dtype=dtype)
        inverse = inverse.square_().clamp_min_(_XSA_EPS).reciprocal_()
        along = (y * v).sum(-1, keepdim=True, dtype=dtype).mul_(inverse)
        ctx.save_for_backward(y, v, along, inverse)
        return torch.addcmul(y, along.to(y.dtype), v, value=-1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        # With c = y.v / |v|**2 and e = dz.v / |v|**2: dy = dz - e v and dv = sum over R of 2 c e v - c dz - e y.
        y, v, along, inverse = ctx.saved_tensors
        grad_along = (grad * v).sum(-1, keepdim=True, dtype=inverse.dtype).mul_(inverse)
        c, e = along.to(y.dtype), grad_along.to(y.dtype)
        y_grad = torch.addcmul(grad, e, v, value=-1.0)
        v_grad = v * (along * grad_along).sum(-2, keepdim=True).mul_(2.0).to(v.dtype)
        for head in range(y.shape[-2]):
            here = slice(head, head + 1)
            v_grad.addcmul_(grad[..., here, :], c[..., here, :], value=-1.0)
            v_grad.addcmul_(y[..., here, :], e[..., here, :], value=-1.0)
        return y_grad, v_grad


def exclude_self(y: Tensor, v: Tensor) -> Tensor:
    """``y`` without its component along the value of its own position: ``y - (y.v) v / |v|**2``.

    The normalised value is never made; a value of zero excludes nothing.
    """
    y_GRK = y.unflatten(-2, (v.shape[-2], -1))
    return cast(Tensor, _ExcludeSelf.apply(y_GRK, v.unsqueeze(-2))).flatten(-3, -2)


# ---- fairway.kernels.rotary_heads ------------------------------------------------------------------------------------
# Queries and keys made ready for attention: unit heads, a gain, a part of each head rotated.


def _rotate_leading(x: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    """Turn the leading dimensions of each head in place: the first half of them paired with the second."""
    half = cos.shape[-1]
    a, b = x[..., :half], x[..., half : 2 * half]
    turned = torch.addcmul(a * cos, b, sin, value=sign)
    b.mul_(cos).addcmul_(a, sin, value=-sign)
    a.copy_(turned)
    return x


class _RotaryHeads(torch.autograd.Function):
    """Rotation commutes with a factor for the whole head: norm and gain are one factor, and rotation comes last."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor | None, cos: Tensor, sin: Tensor) -> Tensor:
        rho = inverse_rms(x)
        factor = rho if gain is None else rho * gain[:, None]
        ctx.save_for_backward(x, rho, gain, cos, sin)
        return _rotate_leading((x * factor).to(x.dtype), cos, sin, 1.0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        # With y = gain rho x: dgain = sum(rho (dy.x)), dx = gain rho dy - x gain rho**3 (dy.x) / K.
        x, rho, gain, cos, sin = ctx.saved_tensors
        grad = _rotate_leading(grad.clone(memory_format=torch.contiguous_format), cos, sin, -1.0)
        along = (grad * x).sum(-1, keepdim=True, dtype=rho.dtype).mul_(rho)
        gain_grad = None if gain is None else along.flatten(0, -3).sum(0).squeeze(-1).to(gain.dtype)
        factor = rho if gain is None else rho * gain[:, None]
        along.mul_(rho).mul_(factor).mul_(-1.0 / x.shape[-1])
        return grad.mul_(factor.to(grad.dtype)).addcmul_(x, along.to(grad.dtype)), gain_grad, None, None


def rotary_heads(
    x: Tensor,
    gain: Tensor | None,
    cos: Tensor,
    sin: Tensor,
) -> Tensor:
    """Each head divided by its root mean square, times its gain, its leading ``2 * half`` dimensions rotated.

    Dimension ``i`` is paired with ``half + i`` (half-split layout): ``(a cos + b sin, b cos - a sin)``. Tables get
    no gradient.
    """
    return cast(Tensor, _RotaryHeads.apply(x, gain, cos, sin))


# ---- fairway.model.hooks ---------------------------------------------------------------------------------------------
# Where adapters, calibration and rotation enter the one forward.


ADAPTED_PARTS = ("q", "k", "v", "o", "mlp")
"""Parts of a slot that ``adapt`` is asked about; the head is one more, once a forward."""


class Site(NamedTuple):
    """A place in the forward: a run of a layer (slot), the layer, and the part of it."""

    slot: int
    layer: int
    part: str


HEAD = Site(slot=-1, layer=-1, part="head")
HEAD_IN = Site(slot=-1, layer=-1, part="head_in")


def _hook_entered(tokens: Tensor, positions: Tensor, x: Tensor) -> Tensor:
    return x


def _hook_unadapted(site: Site, x: Tensor, y: Tensor) -> Tensor:
    return y


def _hook_unobserved(site: Site, x: Tensor) -> None:
    return None


def _hook_unrotated(part: str, x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the forward calls at its sites; the defaults do nothing.

    At each linear the order is: ``observe`` its input, ``rotate`` it, multiply, ``adapt`` the output, which is
    given the input before rotation. ``o`` stands for the whole attention block: it is given the block's normalised
    input and its output before ``attn_scale``; ``mlp`` likewise (recipes E.5).
    """

    enter: Callable[[Tensor, Tensor, Tensor], Tensor] = _hook_entered
    """(tokens, positions in their pieces, x) -> x: what the first layer reads."""
    adapt: Callable[[Site, Tensor, Tensor], Tensor] = _hook_unadapted
    """(site, input, output) -> output."""
    observe: Callable[[Site, Tensor], None] = _hook_unobserved
    """(site, input); sites have the parts of ``OBSERVED_PARTS``."""
    rotate: Callable[[str, Tensor], Tensor] = _hook_unrotated
    """(part, input) -> input; for weights that were baked with the inverse rotation."""


PLAIN = Hooks()


# ---- fairway.model.rotary --------------------------------------------------------------------------------------------
# Angles by which the leading part of each head is turned (partial RoPE).


class Rotary(NamedTuple):
    """Cosines and sines of each token's angles, shaped to broadcast over heads; ``rope_dims / 2`` of each."""

    cos: Tensor
    sin: Tensor


def rotary_table(positions_T: Tensor, rope_dims: int, base: float, dtype: torch.dtype) -> Rotary:
    """The table of given positions; angles in float32, exponents over ``rope_dims`` (not the head's width)."""
    exponents = torch.arange(0, rope_dims, 2, dtype=torch.float32, device=positions_T.device) / max(rope_dims, 1)
    angles = torch.outer(positions_T.float(), base**-exponents)[:, None, :]
    return Rotary(cos=angles.cos().to(dtype), sin=angles.sin().to(dtype))


# ---- fairway.model.weights -------------------------------------------------------------------------------------------
# What one run of one layer multiplies with, and what is the same for all tokens of a forward.


class LayerWeights(NamedTuple):
    """Everything one layer multiplies with: its matrices, then its slices of the parameters that are so named.

    None stands for what the spec leaves out.
    """

    q: Tensor
    """To the heads: from the stream, or from ``narrow_q`` where Q is a product."""
    k: Tensor
    v: Tensor
    o: Tensor
    up: Tensor
    down: Tensor
    q_gain: Tensor
    attn_scale: Tensor
    mlp_scale: Tensor
    resid_mix: Tensor
    lane_decay: Tensor | None = None
    lane_mix: Tensor | None = None
    """From attention and MLP (rows) to lanes (columns)."""


class BlockContext(NamedTuple):
    """What is the same for all tokens of one run of one layer; all but ``slot`` and ``layer`` for all runs too."""

    spec: ModelSpec
    x0: Tensor
    rotary: Rotary
    packing: Packing | None
    hooks: Hooks
    slot: int = 0
    layer: int = 0

    def site(self, part: str) -> Site:
        """A place in this run of this layer."""
        return Site(self.slot, self.layer, part)


def layer_weights(named: Mapping[str, Tensor], spec: ModelSpec, dtype: torch.dtype) -> list[LayerWeights]:
    """Slices of the parameters by one unbind each: indexing would cost a bank-sized gradient a use."""
    parts = {name: named[name].to(dtype).unbind() for name in LayerWeights._fields if name in named}
    n, bank = spec.layers, named["qo_bank"]
    qo, kv = bank.to(dtype).unbind(), named["kv_bank"].to(dtype).unbind()
    parts |= {"q": qo[:n], "o": qo[-n:], "k": kv[:n], "v": kv[n:]}
    parts |= {"up": named["up_bank"].to(dtype).unbind(), "down": named["down_bank"].to(dtype).unbind()}
    return [LayerWeights(**{name: slices[i] for name, slices in parts.items()}) for i in range(n)]


# ---- fairway.model.attention -----------------------------------------------------------------------------------------
# Projections, rotary, gains, causal attention, exclusive self attention, gates of heads.


def attention_output(x: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
    """What the attention of one layer adds, before ``attn_scale``; inside segments where there is a packing."""
    spec, hooks, packing = context.spec, context.hooks, context.packing
    hooks.observe(context.site("attn_in"), x)
    rotated = hooks.rotate("attn_in", x)
    q = F.linear(rotated, weights.q)
    k, v = F.linear(rotated, weights.k), F.linear(rotated, weights.v)
    heads = (-1, x.shape[-1] // spec.heads)
    q = hooks.adapt(context.site("q"), x, q).unflatten(-1, heads)
    k = hooks.adapt(context.site("k"), x, k).unflatten(-1, heads)
    v = hooks.adapt(context.site("v"), x, v).unflatten(-1, heads)
    q = rotary_heads(q, weights.q_gain, context.rotary.cos, context.rotary.sin)
    k = rotary_heads(k, None, context.rotary.cos, context.rotary.sin)
    if packing is None:
        y = causal_attention(q, k, v)
    else:
        y = segment_attention(q[0], k[0], v[0], cast(Packing, packing))[None]
    if context.layer >= spec.layers - spec.xsa_last:
        y = exclude_self(y, v)
    y = y.flatten(-2)
    hooks.observe(context.site("attn_proj_in"), y)
    z = F.linear(hooks.rotate("attn_proj_in", y), weights.o)
    return hooks.adapt(context.site("o"), x, z)


# ---- fairway.kernels.leaky_square ------------------------------------------------------------------------------------
# The square of a leaky ReLU: the MLP's activation.


class _LeakySquare(torch.autograd.Function):
    """The derivative is a leaky ReLU again, of twice the input and with the slope squared."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, slope: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.slope = slope
        y = F.leaky_relu(u, slope)
        return y.mul_(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return F.leaky_relu(u, ctx.slope**2).mul_(grad).mul_(2.0), None


def leaky_square(u: Tensor, slope: float) -> Tensor:
    """``u**2`` where ``u`` is positive, ``(slope * u)**2`` elsewhere."""
    return cast(Tensor, _LeakySquare.apply(u, slope))


# ---- fairway.model.mlp -----------------------------------------------------------------------------------------------
# Up, leaky square, down.


def mlp_output(x: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
    """What the MLP of one layer adds, before ``mlp_scale``."""
    spec, hooks = context.spec, context.hooks
    hooks.observe(context.site("mlp_in"), x)
    h = leaky_square(F.linear(hooks.rotate("mlp_in", x), weights.up), spec.negative_slope)
    hooks.observe(context.site("mlp_proj_in"), h)
    y = F.linear(hooks.rotate("mlp_proj_in", h), weights.down)
    return hooks.adapt(context.site("mlp"), x, y)


# ---- fairway.model.block ---------------------------------------------------------------------------------------------
# One layer, on one residual stream or on two lanes.


def lerp_skip(
    x: Tensor, skip: Tensor, weight: Tensor, gate: Tensor
) -> Tensor:
    """``g x + (1 - g) weight skip`` with ``g = sigmoid(gate)``: the gated U-Net skip."""
    g = torch.sigmoid(gate)
    return channel_sum((x, g), (skip, (1.0 - g) * weight))


def one_lane(x: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
    """Mix with the embedding, attention, then MLP, each added to the stream."""
    x = channel_sum((x, weights.resid_mix[0]), (context.x0, weights.resid_mix[1]))
    x = channel_sum((x, None), (_block_attention(x, weights, context), weights.attn_scale))
    return channel_sum((x, None), (_block_mlp(x, weights, context), weights.mlp_scale))


def two_lanes(
    attn_lane: Tensor, mlp_lane: Tensor, weights: LayerWeights, context: BlockContext
) -> tuple[Tensor, Tensor]:
    """Attention reads the first lane, MLP the second; both write to both (#1529).

    Lane ``j`` becomes ``decay_j lane_j + mix_0j A + mix_1j M``, with ``A`` and ``M`` the scaled outputs. Only
    attention's input is mixed with the embedding; the decayed lanes are not.
    """
    assert weights.lane_decay is not None and weights.lane_mix is not None
    mixed = channel_sum((attn_lane, weights.resid_mix[0]), (context.x0, weights.resid_mix[1]))
    a = _block_attention(mixed, weights, context)
    m = _block_mlp(mlp_lane, weights, context)
    decay = weights.lane_decay[:, None].expand(-1, m.shape[-1])
    from_a = weights.lane_mix[0][:, None] * weights.attn_scale
    from_m = weights.lane_mix[1][:, None] * weights.mlp_scale
    return (
        channel_sum((attn_lane, decay[0]), (a, from_a[0]), (m, from_m[0])),
        channel_sum((mlp_lane, decay[1]), (a, from_a[1]), (m, from_m[1])),
    )


def _block_attention(x: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
    return attention_output(_block_input(x, context), weights, context)


def _block_mlp(x: Tensor, weights: LayerWeights, context: BlockContext) -> Tensor:
    return mlp_output(_block_input(x, context), weights, context)


def _block_input(x: Tensor, context: BlockContext) -> Tensor:
    return scaled_rms_norm(x, input_scale(context))


def input_scale(context: BlockContext) -> float:
    """What a layer's normalised inputs are multiplied with."""
    return ((context.layer + 1) ** -0.5)


# ---- fairway.model.depth ---------------------------------------------------------------------------------------------
# Which layer runs when: loops, the encoder and decoder halves, lanes (pure).


class Depth(NamedTuple):
    """Layers in the order they run; encoder slots push a skip each, decoder slots pop the newest."""

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]

    @property
    def slots(self) -> tuple[int, ...]:
        """Layer of each slot, both halves."""
        return self.encoder + self.decoder

    @property
    def skips(self) -> int:
        """Skips that are popped: decoder slot ``j`` below this uses row ``j`` of the skip tables."""
        return min(len(self.encoder), len(self.decoder))


def schedule(spec: ModelSpec, looped: bool) -> Depth:
    """Every layer once, or the looped stretch ``1 + extra`` times, cut in half (#1394; lists in recipes B.5).

    Without loops in the spec, ``looped`` changes nothing.
    """
    order = list(range(spec.layers))
    if looped:
        first, last = spec.loops.first, spec.loops.last
        order[last + 1 : last + 1] = list(range(first, last + 1)) * spec.loops.extra
    half = len(order) // 2
    return Depth(encoder=tuple(order[:half]), decoder=tuple(order[half:]))


def skip_slots(spec: ModelSpec) -> int:
    """Rows of the skip tables: the most skips of either schedule."""
    return max(schedule(spec, looped).skips for looped in (False, True))


def lanes_from(spec: ModelSpec, depth: Depth) -> int:
    """The first decoder slot that runs on two lanes; ``len(depth.decoder)`` if none does.

    The encoder is always one stream (#1530). Once split, lanes stay apart to the end, so a slot below
    ``lanes.start`` that a loop brings back keeps all before it on one stream.
    """
    below = [slot for slot, layer in enumerate(depth.decoder) if layer < spec.lanes.start]
    return below[-1] + 1 if below else 0


# ---- fairway.model.entry ---------------------------------------------------------------------------------------------
# What the first layer reads beside the token itself: runs of tokens by hash, and the token before.


def embed(
    tokens_BT: Tensor,
    positions_T: Tensor,
    named: Mapping[str, Tensor],
    spec: ModelSpec,
    dtype: torch.dtype,
) -> Tensor:
    """What the first layer reads, and every layer may mix in again."""
    x = F.embedding(tokens_BT, named["embedding"]).to(dtype)
    x = scaled_rms_norm(x)
    return x


# ---- fairway.model.parameters ----------------------------------------------------------------------------------------
# Every parameter of a model: name, shape, and the value that makes its mechanism neutral.


def neutral_parameters(spec: ModelSpec) -> dict[str, Tensor]:
    """All parameters of ``spec`` by name, float32; matrices and tables are zero, ``model.init`` draws them."""
    layers, width = spec.layers, spec.width
    qo_matrices = (2 * layers)
    found = {
        "embedding": torch.zeros(spec.vocab_size, width),
        "qo_bank": torch.zeros(qo_matrices, width, width),
        "kv_bank": torch.zeros(2 * layers, spec.kv_width, width),
        "up_bank": torch.zeros(layers, spec.mlp_width, width),
        "down_bank": torch.zeros(layers, width, spec.mlp_width),
        "attn_scale": torch.ones(layers, width),
        "mlp_scale": torch.ones(layers, width),
        "resid_mix": torch.tensor([1.0, 0.0])[:, None].repeat(layers, 1, width),
        "q_gain": torch.full((layers, spec.heads), spec.qk_gain),
    }
    found["skip_weight"] = torch.ones(skip_slots(spec), width)
    found["skip_gate"] = torch.zeros(skip_slots(spec), width)
    found["lane_decay"] = torch.full((layers, 2), 1.1)
    found["lane_mix"] = torch.ones(layers, 2, 2)
    return found


# ---- fairway.model.gpt -----------------------------------------------------------------------------------------------
# The one forward: embed, blocks, head.


class Gpt(nn.Module):
    """A decoder with tied embedding and banked weights: every model of the recipes, by its spec (recipes B).

    Parameters are float32 and start as ``model.parameters`` says: call ``model.init.initialise``. Matrices are cast
    to ``dtype`` at use. Matrix ``i`` of ``qo_bank`` is Q of layer ``i``, ``layers + i`` is O; ``kv_bank`` likewise.
    """

    def __init__(self, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.spec = spec
        self.dtype = dtype
        # Compiled stand-ins, where training has each kind of block compiled by itself (train.regions).
        self.place_region: Callable[[Tensor, int, int], Packing] | None = None
        self.one_lane_region: Callable[[Tensor, LayerWeights, BlockContext], Tensor] | None = None
        self.two_lanes_region: Callable[[Tensor, Tensor, LayerWeights, BlockContext], tuple[Tensor, Tensor]] | None = (
            None
        )
        for name, start in neutral_parameters(spec).items():
            self.register_parameter(name, nn.Parameter(start))

    def hidden(
        self,
        tokens_BT: Tensor,
        *,
        looped: bool,
        cu_seqlens: Tensor | None = None,
        max_len: int | None = None,
        hooks: Hooks = PLAIN,
    ) -> Tensor:
        """Final-normed hidden states.

        Rows are causal from their start; padding may stand at their right. With ``cu_seqlens`` there is one flat
        row, each of its segments (of at most ``max_len`` tokens) is a document of its own, and positions count
        from the segment's start.
        """
        spec = self.spec
        device = tokens_BT.device
        if cu_seqlens is None:
            packing: Packing | None = None
            positions = torch.arange(tokens_BT.shape[1], device=device)
        else:
            if tokens_BT.shape[0] != 1 or max_len is None:
                raise ValueError(f"cu_seqlens needs max_len and one flat row, got {tokens_BT.shape[0]} rows")
            place = self.place_region or (pack_segments)
            packing = place(cu_seqlens, tokens_BT.shape[1], max_len)
            positions = packing.positions
        named = dict(self.named_parameters())
        rotary = rotary_table(positions, spec.rope_dims, spec.rope_base, self.dtype)
        x0 = hooks.enter(tokens_BT, positions, embed(tokens_BT, positions, named, spec, self.dtype))
        layers = self.each_layer(named)
        shared = BlockContext(spec=spec, x0=x0, rotary=rotary, packing=packing, hooks=hooks)
        x = x0
        depth = schedule(spec, looped)
        split = lanes_from(spec, depth)
        skip_weight = named["skip_weight"].to(self.dtype).unbind()
        skip_gate = named["skip_gate"].to(self.dtype).unbind()
        skips: list[Tensor] = []
        for slot, layer in enumerate(depth.encoder):
            x = (self.one_lane_region or one_lane)(x, layers[layer], shared._replace(slot=slot, layer=layer))
            skips.append(x)
        mlp_lane = x
        for j, layer in enumerate(depth.decoder):
            if j == split:
                # Lanes part before the skip is added, so it enters the first lane only (#1530).
                mlp_lane = x
            if skips:
                x = lerp_skip(x, skips.pop(), skip_weight[j], skip_gate[j])
            here = shared._replace(slot=len(depth.encoder) + j, layer=layer)
            if j >= split:
                x, mlp_lane = (self.two_lanes_region or two_lanes)(x, mlp_lane, layers[layer], here)
            else:
                x = (self.one_lane_region or one_lane)(x, layers[layer], here)
        if split < len(depth.decoder):
            x = (x + mlp_lane) * 0.5
        return scaled_rms_norm(x)

    def each_layer(self, named: Mapping[str, Tensor]) -> list[LayerWeights]:
        """What each layer multiplies with, from the parameters by name."""
        return layer_weights(named, self.spec, self.dtype)

    def raw_logits(self, hidden: Tensor, hooks: Hooks = PLAIN) -> Tensor:
        """Logits of any of the hidden states before the softcap, float32."""
        hooks.observe(HEAD_IN, hidden)
        y = F.linear(hooks.rotate(HEAD_IN.part, hidden), self.get_parameter("embedding").to(self.dtype))
        return hooks.adapt(HEAD, hidden, y).float()

    def forward(
        self,
        tokens_BT: Tensor,
        *,
        looped: bool,
        cu_seqlens: Tensor | None = None,
        max_len: int | None = None,
        hooks: Hooks = PLAIN,
    ) -> Tensor:
        """Softcapped logits of the next token at each position."""
        hidden = self.hidden(tokens_BT, looped=looped, cu_seqlens=cu_seqlens, max_len=max_len, hooks=hooks)
        return softcap(self.raw_logits(hidden, hooks), self.spec.softcap)

    def loss(
        self,
        inputs_BT: Tensor,
        targets_BT: Tensor,
        *,
        looped: bool,
        cu_seqlens: Tensor | None = None,
        max_len: int | None = None,
        hooks: Hooks = PLAIN,
    ) -> Tensor:
        """Mean nats of the targets: what training minimises."""
        hidden = self.hidden(inputs_BT, looped=looped, cu_seqlens=cu_seqlens, max_len=max_len, hooks=hooks)
        raw_logits = self.raw_logits(hidden.flatten(0, 1), hooks)
        loss = softcap_ce(raw_logits, targets_BT.flatten(), self.spec.softcap).mean()
        return loss


# ---- fairway.model.init ----------------------------------------------------------------------------------------------
# Parameter to initialiser: total over the model (recipes B.3, B.4).


@torch.no_grad()
def initialise(model: Gpt, seed: int) -> None:
    """Set every parameter from the seed: Q, K, V and up random, O and down zero, the embedding normal.

    Each tensor draws from a generator of its own, named by the seed and the parameter, on the CPU; so the weights
    do not hang on the order of parameters or on the device.
    """
    for name, value in neutral_parameters(model.spec).items():
        generator = torch.Generator().manual_seed(_init_seed(seed, name))
        model.get_parameter(name).copy_(_init_value(name, value, model.spec, generator))


def _init_value(name: str, neutral: Tensor, spec: ModelSpec, generator: torch.Generator) -> Tensor:
    if name == "embedding":
        return torch.randn(neutral.shape, generator=generator) * spec.embedding_std
    if name.endswith(BANK) and name != "down_bank":
        drawn = neutral[: spec.layers] if name == "qo_bank" else neutral
        drawn.copy_((_init_orthogonal)(drawn.shape, generator))
    return neutral


def _init_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:init.{name}".encode()).digest()[:4], "big")


def _init_orthogonal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """A batch of matrices with orthonormal rows or columns, whichever are fewer."""
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    wide = shape[-2] < shape[-1]
    q, r = torch.linalg.qr(normal.mT if wide else normal)
    # The sign of R's diagonal is LAPACK's choice; taking it out makes the matrix uniform and the same everywhere.
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return (q.mT if wide else q).float()


# ---- fairway.spec.quant ----------------------------------------------------------------------------------------------
# Grid by role, rounding, rotation, codec (recipes D).


CodecName = Literal["smallest", "range", "brotli", "zstd", "lzma", "zlib", "classes", "pergroup", "pergroup_or_range"]

TRELLIS_STATES = (4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Uniform, one step a row: step = clip_sigmas * std(row) / (2**(bits-1) - 1) (SDClip, #1394)."""

    kind: Literal["sigmas"] = "sigmas"
    bits: int
    clip_sigmas: float
    scale_floor: float = 1e-10

    def __post_init__(self) -> None:
        """Refuse bits that do not fit a signed byte."""
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be 2..8, got {self.bits}")
        if self.clip_sigmas <= 0:
            raise ValueError(f"clip_sigmas must be positive, got {self.clip_sigmas}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrellisGrid:
    """Symbols of a column hang together: a path through a trellis says which may follow (entropy-coded TCQ).

    One step a row, as for kind ``sigmas``: step = clip_sigmas * std(row) / (2**(bits-1) - 1). In each place every other
    symbol is allowed, so the step of equal rate is half that of kind ``sigmas``, with one bit more.
    """

    bits: int
    clip_sigmas: float
    scale_floor: float
    states: int
    """4, 8, 16, 32, 64, 128 or 256: twice as many take twice as long and save some 0.005 bits a weight."""
    segment: int
    """Rows after which the path begins anew: segments are worked at together, each costs about 2 bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lagrangian:
    """Each matrix's steps are so many times its role's that a byte more is worth as much to the loss everywhere.

    All together fill the file: what the loss feels is measured on the calibration batches, backwards too.
    """

    cap_bytes: int
    """Of artifact and code together."""
    code_bytes: int
    """What the code is reckoned at: whoever carries the recipe out then rounds alike, whatever the code's form."""
    headroom_bytes: int
    """Of the cap, left unused."""
    tolerance_bytes: int
    """How many more may be."""

    @property
    def target_bytes(self) -> int:
        """What the artifact may have."""
        return self.cap_bytes - self.code_bytes - self.headroom_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Gptq:
    """Round column by column and push each column's error onto the later ones (arXiv 2210.17323)."""

    damp: float
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRotation:
    """Weights are rounded in the basis they were trained in."""

    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hadamard:
    """Four global signed Hadamard rotations at the inputs of the linears (#1695), folded back at load."""

    kind: Literal["hadamard"] = "hadamard"
    seed: int = 20260416


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantSpec:
    """What happens to each role; every other tensor is kept in half precision."""

    attention: Grid | TrellisGrid
    mlp: Grid | TrellisGrid
    embedding: Grid | TrellisGrid
    rates: Lagrangian
    rounding: Gptq
    rotation: NoRotation | Hadamard
    codec: CodecName
    """``smallest``: of each stream the range coder's payload or brotli's, whichever is smaller; ``classes``: or that of
    classes of lines. ``pergroup``: #1855's, by the program lrzip; ``pergroup_or_range`` makes do without it."""


# ---- fairway.quant.grid ----------------------------------------------------------------------------------------------
# Integers and steps: a uniform grid through zero, one step a row (recipes D.1; pure).


# The smallest positive half: a step of zero would turn a row of tiny weights into 0/0.
_GRID_SMALLEST_STEP = 2.0**-24


def largest_symbol(bits: int) -> int:
    """Symbols of a grid run from minus this to plus this: 2**(bits-1) - 1."""
    return 2 ** (bits - 1) - 1


def row_steps(w_OI: Tensor, grid: Grid | TrellisGrid) -> Tensor:
    """What each row's clip over the largest symbol is; positive, in half precision.

    The clip is so many standard deviations of the row, or a quantile of its absolute values. Not finite where the row
    is not, or where the step exceeds the range of halves.
    """
    sigma_O = w_OI.float().std(dim=1, correction=0)
    step_O = grid.clip_sigmas * sigma_O / largest_symbol(grid.bits)
    # maximum, unlike clamp, hands a NaN on
    floor = torch.tensor(max(grid.scale_floor, _GRID_SMALLEST_STEP), device=w_OI.device)
    return torch.maximum(step_O, floor).half()


def encode(w_OI: Tensor, step_O: Tensor, bits: int) -> Tensor:
    """The nearest symbol of each weight (ties to even), clamped to the grid."""
    largest = largest_symbol(bits)
    return (w_OI.float() / step_O.float()[:, None]).round().clamp(-largest, largest).to(torch.int8)


def decode(q_OI: Tensor, step_O: Tensor) -> Tensor:
    """Symbol times step, in float32."""
    return q_OI.float() * step_O.float()[:, None]


# ---- fairway.quant.trellis -------------------------------------------------------------------------------------------
# Trellis-coded rounding: a column's symbols are one path of least error, not each the nearest (pure).


_TRELLIS_CODES = {
    1: (0o0, 0o0),
    4: (0o5, 0o2),
    8: (0o13, 0o4),
    16: (0o23, 0o4),
    32: (0o45, 0o10),
    64: (0o103, 0o24),
    128: (0o235, 0o126),
    256: (0o515, 0o362),
}
"""Parity checks h0 and h1 of each number of states; that of one is no code, and its path all even symbols."""


def trellis_checks(states: int) -> tuple[int, int]:
    """What a symbol's lowest bit and its second one each add to the next state, beyond the state's own shift."""
    h0, h1 = _TRELLIS_CODES[states]
    return h0 >> 1, h1 >> 1


def trellis_next(states: int) -> Tensor:
    """The state after a symbol, by the state before, whose lowest bit is the symbol's, and the symbol's second bit."""
    h0, h1 = trellis_checks(states)
    state_S1 = torch.arange(states)[:, None]
    return (state_S1 >> 1) ^ ((state_S1 & 1) * h0) ^ (torch.arange(2) * h1)


def best_path(
    target_RB: Tensor, weight_RB: Tensor, states: int, bits: int
) -> Tensor:
    """Symbols of each column's path of least sum of weight times (target - symbol)^2, all columns at once (Viterbi).

    Targets are in steps. The same columns give the same symbols, whatever stands beside them; of equal paths that with
    symbols of subsets 0 and 1.
    """
    rows, columns = target_RB.shape
    device, largest = target_RB.device, largest_symbol(bits)
    subset_41 = torch.arange(4, device=device)[:, None]
    # the nearest of each subset that the grid has
    symbol_R4B = ((target_RB[:, None] - subset_41) / 4).round_().mul_(4).add_(subset_41)
    symbol_R4B = symbol_R4B.clamp_(-largest + (subset_41 + largest) % 4, largest - (largest - subset_41) % 4)
    cost_R4B = (target_RB[:, None] - symbol_R4B).square_().mul_(weight_RB[:, None])

    # the two ways into each state: by symbols whose second bit is 0, and 1. Upper states come from odd ones.
    before_2S = trellis_next(states).argsort(dim=0).T.contiguous().to(device)
    parities = min(2, states)
    ways_2SB = torch.empty(2, states, columns, device=device)
    costs = cost_R4B.view(rows, 2, 2, 1, columns)[:, :, :parities].unbind()
    ways_2PHB = ways_2SB.view(2, parities, states // parities, columns)
    ways, (first_SB, second_SB) = ways_2SB.view(2 * states, columns), ways_2SB.unbind()
    second_RSB = torch.empty(rows, states, columns, dtype=torch.bool, device=device)
    least_SB = torch.full((states, columns), math.inf, device=device)
    least_SB[0] = 0.0
    for cost_221B, second in zip(costs, second_RSB.unbind(), strict=True):
        torch.index_select(least_SB, 0, before_2S.view(-1), out=ways)
        ways_2PHB.add_(cost_221B)
        torch.lt(second_SB, first_SB, out=second)
        torch.minimum(first_SB, second_SB, out=least_SB)

    state_1B = least_SB.argmin(0, keepdim=True)
    taken: list[Tensor] = []
    first_S, second_S = before_2S.unbind()
    for second in second_RSB.flip(0).unbind():
        is_second_1B = second.gather(0, state_1B)
        state_1B = torch.where(is_second_1B, second_S.take(state_1B), first_S.take(state_1B))
        taken.append(state_1B & 1 | is_second_1B.long() << 1)
    return symbol_R4B.gather(1, torch.stack(taken[::-1]))[:, 0].to(torch.int8)


# ---- fairway.quant.trellis_columns -----------------------------------------------------------------------------------
# Columns of matrices along a trellis's paths: segments of rows, steps, and what GPTQ asks column by column.


def column_rounder(
    step_LO: Tensor, rows: Sequence[int], grid: TrellisGrid
) -> Callable[[Tensor], Tensor]:
    """A function from columns, one of each of L stacks, to what they are rounded to.

    A stack is of matrices with ``rows`` rows, one below the other, which have paths of their own.
    """
    row_RG = _columns_segments(rows, grid.segment).to(step_LO.device)
    layers, (longest, pieces) = len(step_LO), row_RG.shape
    is_row_RG = row_RG >= 0
    held_RG = row_RG.clamp_min(0)
    # where each row's symbol lies among those of a stack's segments
    place_O = torch.empty(step_LO.shape[1], dtype=torch.int64, device=step_LO.device)
    place_O[row_RG[is_row_RG]] = torch.arange(longest * pieces, device=step_LO.device)[is_row_RG.view(-1)]
    # rows that fill a segment up cost nothing, so the path before them is what it was
    weight_LRG = step_LO[:, held_RG].square() * is_row_RG

    def together(values_LRG: Tensor) -> Tensor:
        return values_LRG.transpose(0, 1).reshape(longest, layers * pieces)

    weight_RB = together(weight_LRG)

    def rounded(w_LO: Tensor) -> Tensor:
        target_RB = together((w_LO / step_LO)[:, held_RG])
        find = best_path
        symbol_RB = find(target_RB, weight_RB, grid.states, grid.bits)
        return symbol_RB.view(longest, layers, pieces).transpose(0, 1).reshape(layers, -1)[:, place_O] * step_LO

    return rounded


def _columns_segments(rows: Sequence[int], segment: int) -> Tensor:
    """Rows of each segment, of a stack of matrices; -1 where it has fewer than the longest."""
    found, start = [], 0
    for count in rows:
        found += list(torch.arange(start, start + count).split(segment))
        start += count
    return torch.nn.utils.rnn.pad_sequence(found, padding_value=-1)


def nearest_symbols(
    w_OI: Tensor,
    step_O: Tensor,
    grid: Grid | TrellisGrid,
    rounding: Gptq,
) -> Tensor:
    """What a recipe without GPTQ stores; with it, what GPTQ is held against.

    That is the nearest symbol of each weight. On a trellis it is the best path of each column; what GPTQ is held
    against there is the nearest even symbol: scalar rounding at the same rate.
    """
    if isinstance(grid, TrellisGrid):
        return encode(w_OI, 2 * step_O, grid.bits - 1) * 2
    return encode(w_OI, step_O, grid.bits)


# ---- fairway.quant.gptq ----------------------------------------------------------------------------------------------
# Round column by column and push each column's error onto the columns still to come (arXiv 2210.17323; pure).


def inverse_factor(h_II: Tensor) -> Tensor:
    """Upper triangular U with H^-1 = U^T U, from one Cholesky factor and one triangular solve.

    The Cholesky factor of H with rows and columns in reverse order, reversed back, is an upper R with H = R R^T;
    U is R^-1. ``GateError`` if H is not positive definite.
    """
    lower_II, failed = torch.linalg.cholesky_ex(h_II.flip(0, 1))
    if failed.item():
        raise GateError(
            f"Hessian is not positive definite (leading minor {int(failed)}); damp more or calibrate longer"
        )
    upper_II = lower_II.flip(0, 1)
    return torch.linalg.solve_triangular(upper_II, torch.eye(len(h_II)).to(h_II), upper=True)


def gptq(
    w_OI: Tensor,
    h_II: Tensor,
    step_O: Tensor,
    grid: Grid | TrellisGrid,
    rounding: Gptq,
) -> Tensor:
    """Symbols of least output error, greedily, on a grid; where H is diagonal those of ``encode``, or ``column_paths``.

    Inputs that were never active (H_ii = 0) get weight zero; then ``damp`` times the mean of the diagonal is
    added to it. With ``act_order`` the columns of largest diagonal go first, while most columns can still
    make up for them.
    """
    h_II = h_II.float().clone()
    w_IO = w_OI.float().T.contiguous()
    if w_IO.data_ptr() == w_OI.data_ptr():  # a transposed argument is contiguous already
        w_IO = w_IO.clone()
    diagonal_I = h_II.diagonal()
    dead_I = diagonal_I == 0
    diagonal_I[dead_I] = 1.0
    w_IO[dead_I] = 0.0
    diagonal_I += rounding.damp * diagonal_I.mean()
    order_I = torch.arange(len(h_II), device=h_II.device)
    order_I = diagonal_I.argsort(descending=True, stable=True)
    h_II, w_IO = h_II[order_I][:, order_I], w_IO[order_I]

    u_II = inverse_factor(h_II)
    step = step_O.float()
    largest = largest_symbol(grid.bits)
    if isinstance(grid, TrellisGrid):
        by_path = column_rounder(step[None], [len(step)], grid)
    inputs = len(w_IO)
    for start in range(0, inputs, rounding.block):
        stop = min(start + rounding.block, inputs)
        error_BO = torch.empty_like(w_IO[start:stop])
        # a block of U as its own tensor: its rows are read one by one
        u_BB = u_II[start:stop, start:stop].contiguous()
        gains_B = u_BB.diagonal().tolist()
        for row, gain in enumerate(gains_B):
            w_O = w_IO[start + row]
            if isinstance(grid, TrellisGrid):
                rounded_O = by_path(w_O[None])[0]
            else:
                rounded_O = (w_O / step).round_().clamp_(-largest, largest).mul_(step)
            error_O = torch.sub(w_O, rounded_O, out=error_BO[row]).div_(gain)
            # what is stored is the value that was rounded; encode finds the same symbol again
            w_IO[start + row] = rounded_O
            w_IO[start + row + 1 : stop].addr_(u_BB[row, row + 1 :], error_O, alpha=-1.0)
        w_IO[stop:].addmm_(u_II[start:stop, stop:].T, error_BO, alpha=-1.0)

    rounded_IO = torch.empty_like(w_IO)
    rounded_IO[order_I] = w_IO
    return encode(rounded_IO.T, step_O, grid.bits)


def output_energy(w_OI: Tensor, h_II: Tensor) -> float:
    """tr(W H W^T): what the outputs of a linear have of squares."""
    return float((w_OI @ h_II * w_OI).sum())


def relative_error(w_OI: Tensor, approx_OI: Tensor, h_II: Tensor) -> float:
    """tr(E H E^T) / tr(W H W^T) for E = W - approx: the share of the output's energy that is lost; 0 for W = 0."""
    total = output_energy(w_OI.float(), h_II)
    return output_energy(w_OI.float() - approx_OI.float(), h_II) / total if total > 0 else 0.0


# ---- fairway.quant.plan ----------------------------------------------------------------------------------------------
# Which tensor gets which treatment: decided by role, total over the model, none left over.


KEPT_BITS = 16
"""Bits of a value of a tensor that is kept: half precision."""

INPUT_PARTS = {
    "q": "attn_in",
    "q_in": "attn_in",
    "q_out": "q_proj_in",
    "k": "attn_in",
    "v": "attn_in",
    "o": "attn_proj_in",
    "up": "mlp_in",
    "down": "mlp_proj_in",
}
"""Part of a matrix to the name of the linear input it reads, as the model's hooks call it."""

_PLAN_ROLE_ORDER = {role: place for place, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Treatment:
    """What happens to one tensor: ``grid`` None means that it is kept in half precision."""

    name: str
    role: Role
    shape: tuple[int, ...]
    grid: Grid | TrellisGrid | None

    @property
    def bits(self) -> int:
        """Bits of one value before entropy coding."""
        return KEPT_BITS if self.grid is None else self.grid.bits


def input_part(name: str) -> str | None:
    """The linear input that a block's matrix reads; None for the embedding and for tensors that are no matrix."""
    role = role_of(name)
    return INPUT_PARTS[split_matrix_name(name)[1]] if role in MATRIX_ROLES else None


def grid_of(role: Role, quant: QuantSpec) -> Grid | TrellisGrid | None:
    """The grid of a role's tensors; None for those that are kept."""
    if role in ATTENTION_ROLES:
        return quant.attention
    if role in MLP_ROLES:
        return quant.mlp
    return quant.embedding if role is Role.EMBEDDING else None


def plan(shapes: Mapping[str, Sequence[int]], quant: QuantSpec) -> list[Treatment]:
    """One treatment a tensor, ordered by role, then layer: the order of the artifact.

    ``shapes`` is keyed by names outside banks; ``GateError`` for a name without a role.
    """
    treatments = []
    for name, shape in shapes.items():
        try:
            role = role_of(name)
        except ValueError as error:
            raise GateError(f"tensor {name!r} has no role, so nothing says how to quantize it: {error}") from error
        grid = grid_of(role, quant)
        if grid is not None and len(shape) != 2:
            raise GateError(f"tensor {name} must be a matrix to be quantized, got shape {list(shape)}")
        treatments.append(Treatment(name, role, tuple(shape), grid))
    return sorted(treatments, key=_plan_place)


def _plan_place(treatment: Treatment) -> tuple[int, int, str]:
    layer = split_matrix_name(treatment.name)[0] if treatment.role in MATRIX_ROLES else 0
    return _PLAN_ROLE_ORDER[treatment.role], layer, treatment.name


# ---- fairway.kernels.hadamard ----------------------------------------------------------------------------------------
# Seeded orthogonal matrices whose entries are all about equally large (recipes D.4).


def sylvester_hadamard(order: int) -> Tensor:
    """The Hadamard matrix of a power of two, entries +-1, in float64."""
    if order < 1 or order & (order - 1):
        raise ValueError(f"a Sylvester-Hadamard matrix has a power of two rows, got {order}")
    h = torch.ones(1, 1, dtype=torch.float64)
    while h.shape[0] < order:
        h = torch.cat([torch.cat([h, h], dim=1), torch.cat([h, -h], dim=1)])
    return h


def hadamard_rotation(n: int, seed: int, tag: str) -> Tensor:
    """An orthogonal matrix from a seed and a name, float32: random signs times a Hadamard matrix (#1695).

    Where ``n`` is no power of two, the leading block of the next one is orthonormalised by QR, which leaves a
    power of two as it is but for signs. Sums are float64, so the matrix does not hang on the machine.
    """
    order = 1 << (n - 1).bit_length()
    digest = hashlib.sha256(f"{seed}:{tag}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
    signs = torch.randint(0, 2, (order,), generator=generator).double() * 2 - 1
    block = (signs[:, None] * sylvester_hadamard(order) / order**0.5)[:n, :n]
    if order == n:
        return block.float()
    q, r = torch.linalg.qr(block)
    return (q * r.diagonal().sign()).float()


# ---- fairway.quant.rotation ------------------------------------------------------------------------------------------
# Four global Hadamard rotations at the inputs of the linears (#1695, recipes D.4).


def rotations(shapes: Mapping[str, Sequence[int]], rotation: NoRotation | Hadamard) -> dict[str, Tensor]:
    """The rotation of each linear input that some matrix reads, by the input's name; none for ``NoRotation``.

    ``shapes`` is keyed by tensor name outside banks.
    """
    if isinstance(rotation, NoRotation):
        return {}
    widths = {part: shape[1] for name, shape in shapes.items() if (part := input_part(name)) is not None}
    return {part: hadamard_rotation(width, rotation.seed, part) for part, width in sorted(widths.items())}


def bake(w_OI: Tensor, r_II: Tensor) -> Tensor:
    """W R: the weight that reads rotated inputs."""
    return w_OI @ r_II


def unbake(w_OI: Tensor, r_II: Tensor) -> Tensor:
    """W R^T: the weight that reads plain inputs again."""
    return w_OI @ r_II.T


def bake_hessian(h_II: Tensor, r_II: Tensor) -> Tensor:
    """R^T H R, the second moment of rotated inputs, symmetric to the last bit; the trace is that of H."""
    rotated_II = r_II.T @ h_II @ r_II
    return (rotated_II + rotated_II.T) / 2


def online_hooks(turns: Mapping[str, Tensor]) -> Hooks:
    """Hooks under which a model with baked weights computes what the plain model does."""

    def rotate(part: str, x: Tensor) -> Tensor:
        r_II = turns.get(part)
        return x if r_II is None else x @ r_II.to(x)

    return Hooks(rotate=rotate)


# ---- fairway.quant.rounding ------------------------------------------------------------------------------------------
# A matrix to its grid, with the share of its output's energy that is lost.


_ROUNDING_NO_ERROR = 1e-12


@dataclass(frozen=True, slots=True)
class Rounded:
    """One matrix on its grid, and the shares of its output's energy that two ways of rounding lose."""

    symbols: Tensor
    steps: Tensor
    error_nearest: float
    """Of ``nearest_symbols``."""
    error_gptq: float | None
    """None where the recipe rounds to nearest."""

    @property
    def gptq_over_nearest(self) -> float:
        """At most 1 where GPTQ does its work."""
        if self.error_gptq is None:
            return 1.0
        return (self.error_gptq + _ROUNDING_NO_ERROR) / (self.error_nearest + _ROUNDING_NO_ERROR)


Both = tuple[Rounded, Rounded]
"""A matrix rounded in the basis that it was trained in, for comparison, and in that of the artifact."""

Rounder = Callable[
    [Sequence[Treatment], Mapping[str, Tensor], Mapping[str, Tensor], Mapping[str, Tensor], QuantSpec], dict[str, Both]
]
"""From treatments, weights, Hessians and rotations to every matrix that has a grid."""


def round_matrix(
    name: str,
    w_OI: Tensor,
    h_II: Tensor,
    grid: Grid | TrellisGrid,
    quant: QuantSpec,
) -> Rounded:
    """A matrix on its grid by the recipe's rounding; ``name`` is for error messages."""
    step_O = sound_steps(name, w_OI, grid)
    nearest = nearest_symbols(w_OI, step_O, grid, quant.rounding)
    error_nearest = relative_error(w_OI, decode(nearest, step_O), h_II)
    try:
        symbols = gptq(w_OI, h_II, step_O, grid, quant.rounding)
    except GateError as error:
        raise GateError(f"tensor {name}: {error}") from error
    return Rounded(symbols, step_O, error_nearest, relative_error(w_OI, decode(symbols, step_O), h_II))


def sound_steps(
    name: str, w_OI: Tensor, grid: Grid | TrellisGrid
) -> Tensor:
    """The steps of a matrix's rows; ``GateError`` if one is not finite."""
    step_O = row_steps(w_OI, grid)
    if not bool(step_O.isfinite().all()):
        raise GateError(f"tensor {name} has a row whose step is beyond half precision (65504)")
    return step_O


# ---- fairway.runtime.ranks -------------------------------------------------------------------------------------------
# The processes of one run. The only module that reads environment variables, and only when it is called.


@dataclass(frozen=True, slots=True)
class Ranks:
    """Which of ``world`` processes this one is, and where its tensors live. With one process nothing communicates."""

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the one rank that writes files and lines."""
        return self.rank == 0

    def sum_(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its sum over ranks, in place; one message a dtype."""
        self._exchange(tensors, dist.all_reduce)

    def mean_(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes its mean over ranks, in place; one message a dtype."""
        self._exchange(tensors, self._average)

    def broadcast_(self, tensors: Sequence[Tensor]) -> None:
        """Each tensor becomes the first rank's, in place."""
        self._exchange(tensors, _from_first)

    def any(self, flag: bool) -> bool:
        """Whether it is true on any rank, the same on every rank (MAX of the flag, recipes C.4)."""
        return bool(self.max(float(flag)))

    def max(self, number: float) -> float:
        """Largest of the ranks' numbers, the same on every rank to the last bit."""
        if self.world == 1:
            return number
        numbers = torch.tensor([number], dtype=torch.float64, device=self.device)
        dist.all_reduce(numbers, op=dist.ReduceOp.MAX)
        return float(numbers.item())

    def _average(self, flat: Tensor) -> None:
        dist.all_reduce(flat)
        flat.div_(self.world)  # gloo has no average of its own

    @torch.no_grad()
    def _exchange(self, tensors: Sequence[Tensor], message: Callable[[Tensor], object]) -> None:
        """Send tensors of one dtype as one."""
        if self.world == 1:
            return
        for alike in _by_dtype(tensors):
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            message(flat)
            for tensor, piece in zip(alike, flat.split_with_sizes([each.numel() for each in alike]), strict=True):
                tensor.copy_(piece.view(tensor.shape))

    def barrier(self) -> None:
        """Return when every rank has come here; a GPU has then finished what was queued on it."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        if self.world > 1:
            self.any(False)


def _by_dtype(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    alike: dict[torch.dtype, list[Tensor]] = defaultdict(list)
    for tensor in tensors:
        alike[tensor.dtype].append(tensor)
    return list(alike.values())


def _from_first(flat: Tensor) -> None:
    dist.broadcast(flat, src=0)


def _rank_variable(name: str) -> int:
    text = os.environ.get(name, "")
    if not text.isdecimal():
        raise FairwayError(f"environment variable {name} must be a whole number as torchrun sets it, got {text!r}")
    return int(text)


def settings(known: Collection[str]) -> dict[str, str]:
    """Environment variables of these names that are set and not empty.

    ``FairwayError`` for any ``FAIRWAY_...`` beside them: whoever set it believes that it does something.
    """
    for name in sorted(os.environ):
        if name.startswith("FAIRWAY_") and name not in known:
            raise FairwayError(f"environment variable {name} is not known; there are {', '.join(known)}")
    return {name: os.environ[name] for name in known if os.environ.get(name)}


def first_process() -> bool:
    """Whether this is the one process, of those that torchrun started, that writes files and lines."""
    return os.environ.get("RANK", "0") in ("", "0")


def open_ranks(device: str | None = None, *, alone: bool = False, timeout_s: float = 600.0) -> Ranks:
    """Ranks that torchrun started (RANK, WORLD_SIZE, LOCAL_RANK), connected; a lone process without them.

    ``device`` None takes CUDA where there is a GPU. With ``alone`` this process works by itself, whoever else was
    started. Ranks on CPU talk through gloo, on GPU through NCCL; a partner that is silent for ``timeout_s`` seconds
    raises. Ranks that are connected stay so until ``close_ranks``: to connect anew, some would find the addresses of
    the last time.
    """
    if alone or not os.environ.get("WORLD_SIZE"):
        rank, world, local = 0, 1, 0
    else:
        rank, world, local = (_rank_variable(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        if not 0 <= rank < world:
            raise FairwayError(f"RANK must be below WORLD_SIZE ({world}), got {rank}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if place.type == "cuda":
        if device is not None and not torch.cuda.is_available():
            raise FairwayError(f"device {device!r} was asked for, but this machine has no usable GPU")
        place = torch.device("cuda", local if place.index is None else place.index)
        torch.cuda.set_device(place)
    if world > 1 and not dist.is_initialized():
        backend = "nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=world, timeout=timedelta(seconds=timeout_s))
    return Ranks(rank=rank, world=world, device=place)


def close_ranks() -> None:
    """Leave the process group, if there is one."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


# ---- fairway.runtime.lines -------------------------------------------------------------------------------------------
# A text file that grows line by line, and gets its name when it is whole.


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


# ---- fairway.runtime.events ------------------------------------------------------------------------------------------
# The run's log: one JSON object a line for machines, one echoed line for people, from the same facts.


# One line a tensor is for the report, not for a screen.
_SILENT_EVENTS = frozenset({"hessian", "tensor"})
_ENTRY_FIELDS = ("stage", "event", "t_s")


def render(entry: Mapping[str, Any]) -> str | None:
    """Line that people read, or None for events that only machines read.

    A training step has the form of the published logs:
    ``step:50/400 train_loss:3.1416 train_time:1234ms step_avg:24.68ms``.
    """
    if entry["event"] in _SILENT_EVENTS:
        return None
    if entry["event"] == "step":
        steps = "?" if entry.get("steps") is None else entry["steps"]
        return (
            f"step:{entry['step']}/{steps} train_loss:{entry['loss_nats']:.4f}"
            f" train_time:{1000 * entry['train_s']:.0f}ms step_avg:{entry['step_avg_ms']:.2f}ms"
        )
    words = [f"{key}:{_event_word(value)}" for key, value in entry.items() if key not in _ENTRY_FIELDS]
    return " ".join([f"{entry['stage']}: {entry['event']}", *words])


def _event_word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.8g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def _not_finite(value: object, path: str) -> str | None:
    """Path of the first NaN or infinity inside ``value``; a log with one could be read by no strict parser."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{path}={value}"
    if isinstance(value, Mapping):
        children = [(f"{path}.{key}", child) for key, child in value.items()]
    elif isinstance(value, (list, tuple)):
        children = [(f"{path}[{i}]", child) for i, child in enumerate(value)]
    else:
        return None
    return next((found for name, child in children if (found := _not_finite(child, name))), None)


class EventLog(LineFile):
    """Appends events to ``path.part`` and gives the file its name when the stage ends without an exception.

    With ``path`` None nothing is written (ranks other than the first); events are checked all the same.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        stage: str,
        echo: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(path)
        self.stage = stage
        self._echo = echo
        self._clock = clock
        self._opened_at = clock()

    def emit(self, event: str, /, **fields: Any) -> dict[str, Any]:
        """Append one event, flushed; ``GateError`` if a number is NaN or infinite, ``DataError`` if the disk is full.

        ``fields`` may hold whatever JSON holds; ``t_s`` (seconds since the log was opened) is added here.
        """
        assert not fields.keys() & set(_ENTRY_FIELDS), f"fields {_ENTRY_FIELDS} are the log's own"
        entry = {"stage": self.stage, "event": event, "t_s": round(self._clock() - self._opened_at, 6), **fields}
        wrong = _not_finite(fields, event)
        if wrong is not None:
            raise GateError(f"{self.stage}: {wrong}, a run's log holds finite numbers only")
        self.write_line(json.dumps(entry, allow_nan=False, ensure_ascii=False))
        if self._echo is not None:
            text = render(entry)
            if text is not None:
                self._echo(text)
        return entry


# ---- fairway.quant.hessian -------------------------------------------------------------------------------------------
# Second moments of the inputs of every linear: what GPTQ weighs rounding errors with (recipes D.3).


HESSIAN_ASYMMETRY_LIMIT = 1e-4
"""Largest |H - H^T| over largest |H|; the rounding of float32 sums is far below."""


class _MomentSums:
    """Sums of x^T x by key, and of the rows that went in."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.rows: dict[str, int] = {}

    def add(self, key: str, x: Tensor) -> None:
        x_NI = x.detach().reshape(-1, x.shape[-1]).float()
        if key not in self.sums:
            self.sums[key] = torch.zeros(x_NI.shape[1], x_NI.shape[1], device=x.device)
            self.rows[key] = 0
        self.sums[key].addmm_(x_NI.T, x_NI)
        self.rows[key] += len(x_NI)


@torch.no_grad()
def collect(
    model: Gpt,
    batches: Iterable[Batch],
    count: int,
    ranks: Ranks,
    *,
    looped: bool,
    events: EventLog | None = None,
) -> dict[str, Tensor]:
    """Name of each matrix to H = sum of x^T x over tokens, divided by the number of batches; float32.

    Each rank takes ``count`` of its own batches; sums run over all of them, so every rank returns the same. Layers
    that run more than once add up all their runs. Q, K and V read the same input and share one tensor; the
    embedding's is that of the final hidden states, which it multiplies as the head. ``GateError`` as in
    ``check_hessians``.
    """
    moments = _MomentSums()

    def observe(site: Site, x: Tensor) -> None:
        moments.add(f"{site.layer}.{site.part}", x)

    stream = iter(batches)
    for _ in range(count):
        here = next(stream).to(ranks.device)  # a loader has no end
        bounds = here.cu_seqlens
        longest = None if bounds is None else int(bounds.diff().max())
        hidden = model.hidden(
            here.inputs_BT, looped=looped, cu_seqlens=bounds, max_len=longest, hooks=Hooks(observe=observe)
        )
        moments.add("head", hidden)
    rows = torch.tensor(list(moments.rows.values()), dtype=torch.int64, device=ranks.device)
    ranks.sum_([*moments.sums.values(), rows])
    samples = dict(zip(moments.sums, rows.tolist(), strict=True))
    parts = [part for named in bank_parts(model.spec).values() for part in named]
    keys = {matrix_name(i, part): f"{i}.{INPUT_PARTS[part]}" for i in range(model.spec.layers) for part in parts}
    keys["embedding"] = "head"
    for total in moments.sums.values():
        total /= count * ranks.world
    hessians = {name: moments.sums[key] for name, key in keys.items() if key in moments.sums}
    check_hessians(hessians, {name: _input_width(name, model.spec) for name in keys})
    if events is not None:
        for name, h_II in hessians.items():
            events.emit("hessian", name=name, trace=float(h_II.trace()), samples=samples[keys[name]])
    return hessians


def _input_width(name: str, spec: ModelSpec) -> int:
    return spec.mlp_width if role_of(name) is Role.MLP_DOWN else spec.width


def check_hessians(hessians: Mapping[str, Tensor], inputs: Mapping[str, int]) -> None:
    """Each matrix of ``inputs`` (its name to how many inputs it has) has a Hessian that is one.

    ``GateError`` names the first that is missing, misshapen, zero, not finite or not symmetric.
    """
    for name, width in inputs.items():
        h_II = hessians.get(name)
        if h_II is None or h_II.shape != (width, width):
            raise GateError(f"Hessian of {name} must be {width} x {width}; calibrate this checkpoint again")
        largest = float(h_II.abs().max())
        if not 0.0 < largest < math.inf:
            raise GateError(
                f"Hessian of {name} must be finite and not all zero, its largest entry is {largest}: the model or the"
                " calibration tokens are damaged, or its input was never active"
            )
        asymmetry = float((h_II - h_II.T).abs().max()) / largest
        if asymmetry > HESSIAN_ASYMMETRY_LIMIT:
            raise GateError(
                f"Hessian of {name} must be symmetric to {HESSIAN_ASYMMETRY_LIMIT:g} of its largest entry,"
                f" got {asymmetry:.3g}"
            )


# ---- fairway.quant.packing -------------------------------------------------------------------------------------------
# Tensors to streams of bytes and back (pure).


STEPS_STREAM = "steps"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor as an artifact describes it."""

    name: str
    shape: tuple[int, ...]
    role: Role
    bits: int

    @property
    def is_kept(self) -> bool:
        """True for a tensor of halves, False for symbols with a step a row."""
        return self.bits == KEPT_BITS

    @property
    def count(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def stream(self) -> str:
        """Name of the stream that holds its values: that of its role, if its values are symbols."""
        return str((Role.CONTROL if self.is_kept else self.role).value)


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """Every tensor of a model by name: int8 symbols with one half a row as step, or halves that are kept."""

    symbols: dict[str, Tensor]
    steps: dict[str, Tensor]
    kept: dict[str, Tensor]


def value_bytes(stream: str) -> int:
    """Bytes of one value of a stream before compression: 2 for halves, 1 for symbols."""
    return 2 if stream in (STEPS_STREAM, Role.CONTROL.value) else 1


def raw_sizes(tensors: Sequence[StoredTensor]) -> dict[str, int]:
    """Bytes that each stream has before compression, as the shapes say it: roles in order, then the steps."""
    sizes: dict[str, int] = {}
    for tensor in tensors:
        sizes[tensor.stream] = sizes.get(tensor.stream, 0) + tensor.count * value_bytes(tensor.stream)
    rows = sum(tensor.shape[0] for tensor in tensors if not tensor.is_kept)
    return sizes | ({STEPS_STREAM: 2 * rows} if rows else {})


def to_streams(tensors: Sequence[StoredTensor], model: QuantizedModel) -> dict[str, bytes]:
    """Bytes of each stream, of the sizes and in the order of ``raw_sizes``."""
    streams: dict[str, list[bytes]] = {stream: [] for stream in raw_sizes(tensors)}
    for tensor in tensors:
        if tensor.is_kept:
            streams[tensor.stream].append(_packing_bytes(model.kept[tensor.name]))
        else:
            streams[tensor.stream].append(_packing_bytes(model.symbols[tensor.name].T))
            streams[STEPS_STREAM].append(_packing_bytes(model.steps[tensor.name]))
    return {stream: b"".join(pieces) for stream, pieces in streams.items()}


def from_streams(tensors: Sequence[StoredTensor], streams: Mapping[str, bytes]) -> QuantizedModel:
    """The tensors that ``to_streams`` packed."""
    assert {name: len(stream) for name, stream in streams.items()} == raw_sizes(tensors)
    model = QuantizedModel({}, {}, {})
    starts = dict.fromkeys(streams, 0)

    def take(stream: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        start = starts[stream]
        starts[stream] = stop = start + prod(shape) * dtype.itemsize
        # bytearray: torch wants memory that it may write to
        return torch.frombuffer(bytearray(streams[stream][start:stop]), dtype=dtype).view(shape)

    for tensor in tensors:
        if tensor.is_kept:
            model.kept[tensor.name] = take(tensor.stream, tensor.shape, torch.float16)
        else:
            outputs, inputs = tensor.shape
            model.symbols[tensor.name] = take(tensor.stream, (inputs, outputs), torch.int8).T.contiguous()
            model.steps[tensor.name] = take(STEPS_STREAM, (outputs,), torch.float16)
    return model


def _packing_bytes(tensor: Tensor) -> bytes:
    return tensor.cpu().contiguous().numpy().tobytes()


# ---- fairway.quant.sensitivity ---------------------------------------------------------------------------------------
# Bits by how much the loss feels each matrix: GradQuant (#1048, recipes D.2).


ROW_SENSITIVITY_END = ".row_sensitivity"
"""What row sensitivities are called beside the Hessians."""


def row_sensitivities(
    model: Gpt, batches: Iterable[Batch], count: int, ranks: Ranks, *, looped: bool
) -> dict[str, Tensor]:
    """``NAME.row_sensitivity`` of each matrix: for each row half the sum of squares of a token's gradient; float32.

    A batch is one of each rank, as for ``sensitivities``. Tokens' gradients are taken not to go together, so that
    their squares sum to the batch's square, times tokens as its loss is a mean: Fisher's information by the texts' own
    next tokens. With ``x`` as the share of the row's output energy that rounding loses, as many nats times ``x`` is
    what the loss rises by, to the second order.
    """
    sums: dict[str, Tensor] = {}
    for tokens, name, gradient in _sensitivity_gradients(model, batches, count, ranks, looped=looped):
        if gradient.ndim == 2:
            key = f"{name}{ROW_SENSITIVITY_END}"
            square = gradient.double().square().sum(1).cpu() * (tokens * ranks.world / 2)
            sums[key] = sums[key] + square if key in sums else square
    return {key: (total / count).float() for key, total in sums.items()}


def _sensitivity_gradients(
    model: Gpt, batches: Iterable[Batch], count: int, ranks: Ranks, *, looped: bool
) -> Iterator[tuple[int, str, Tensor]]:
    """Of each batch, each tensor's name and its gradient, a mean over ranks, and the tokens of one rank."""
    parameters = dict(model.named_parameters())
    stream = iter(batches)
    for _ in range(count):
        here = next(stream).to(ranks.device)  # a loader has no end
        bounds = here.cu_seqlens
        longest = None if bounds is None else int(bounds.diff().max())
        loss = model.loss(here.inputs_BT, here.targets_BT, looped=looped, cu_seqlens=bounds, max_len=longest)
        own = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        found = [gradient.contiguous() for gradient in own]
        ranks.mean_(found)
        for name, gradient in unbank(dict(zip(parameters, found, strict=True)), model.spec).items():
            yield here.targets_BT.numel(), name, gradient


# ---- fairway.runtime.seeding -----------------------------------------------------------------------------------------
# Named random generators, and the number of threads: the two things a CPU run's bits depend on.


def generator(seed: int, tag: str, device: str | torch.device = "cpu") -> torch.Generator:
    """Random generator of its own for each tag, seeded by the first 4 bytes, big-endian, of SHA-256 of ``seed:tag``.

    The construction is the one that #1695 uses for its rotations. Nothing reads torch's global generator, so
    adding a draw in one place changes no draw in another.
    """
    number = int.from_bytes(hashlib.sha256(f"{seed}:{tag}".encode()).digest()[:4], "big")
    return torch.Generator(device=device).manual_seed(number)


def set_threads(threads: int) -> int:
    """Run torch's CPU kernels on so many threads (0: torch's own choice) and tell how many that are.

    The order of floating-point sums depends on it, hence the bits of the weights.
    """
    if threads < 0:
        raise RecipeError(f"train.threads must be 0 or more, got {threads}")
    if threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()


# ---- fairway.quant.codecs --------------------------------------------------------------------------------------------
# Bytes to fewer bytes and back, by name; decompression never yields more than it was told to expect.


StoredCodec = Literal["range", "brotli", "zstd", "lzma", "zlib", "classes", "lrzip", "trellis"]

STORED_CODECS: tuple[StoredCodec, ...] = ("range", "brotli", "zstd", "lzma", "zlib", "classes", "lrzip", "trellis")
"""Names that an artifact may hold; the last four are not of this file."""

LONG_STREAM_BYTES = 1 << 20
"""Streams beyond this are not tried by brotli, unless the recipe names it."""

_RANGE_MANTISSA_BITS = (1, 2, 3, 4, 6, 8, 12, 20)
_RANGE_STORED, _RANGE_CODED = 0, 1
_RANGE_CHUNK = 1 << 20
_RANGE_EXPONENT_CAP = 32

_CodecBytes = np.ndarray[Any, np.dtype[np.uint8]]
_CodecCounts = np.ndarray[Any, np.dtype[np.int64]]


def compress(quant: QuantSpec, raw: bytes, *, value_bytes: int) -> tuple[StoredCodec, bytes]:
    """The codec that was used and its payload; equal input gives equal output.

    ``value_bytes`` is 1 for symbols and 2 for halves. ``smallest`` tries the range coder, and brotli on short
    streams: on long ones it takes a second a megabyte and loses a percent. (In the three artifacts of the pocket
    record zstd and lzma saved 2 bytes together, and each is code that a submission carries.)
    """
    assert len(raw) % value_bytes == 0, (len(raw), value_bytes)
    planes = b"".join(_codec_planes(raw, value_bytes))
    range_payload = range_encoded(raw, value_bytes)
    if len(raw) > LONG_STREAM_BYTES or len(range_payload) <= len(brotli_encoded(raw, value_bytes)):
        return "range", range_payload
    return "brotli", brotli_encoded(raw, value_bytes)


def decompress(quant: QuantSpec, codec: StoredCodec, payload: bytes, *, raw_size: int, value_bytes: int) -> bytes:
    """The ``raw_size`` bytes that were compressed; ``ArtifactError`` if the payload holds anything else.

    A recipe that packs by zstd or lzma says so, and no other reads them. Memory stays within a small multiple of
    ``raw_size``, whatever the payload says of itself.
    """
    if raw_size == 0:
        if payload:
            raise MalformedError(f"{codec} payload of an empty stream must be empty, got {len(payload)} bytes")
        return b""
    try:
        if codec == "range":
            return _codec_interleave(_range_decoded(payload, raw_size, value_bytes), value_bytes)
        if codec == "brotli":
            planes = _brotli_decoded(payload, raw_size)
        else:
            raise MalformedError(f"the recipe packs by {quant.codec}, a stream is packed by {codec}")
    # constriction reports symbols that its model cannot have produced as an AssertionError
    except (AssertionError, ValueError, IndexError, brotli.error, *_codec_errors(quant)) as error:
        raise MalformedError(f"{codec} payload of {len(payload)} bytes is damaged: {error}") from error
    if len(planes) != raw_size:
        raise MalformedError(f"{codec} payload must hold {raw_size} bytes, got {len(planes)}")
    return _codec_interleave(planes, value_bytes)


def _codec_errors(quant: QuantSpec) -> list[type[Exception]]:
    return []


def _codec_planes(raw: bytes, value_bytes: int) -> list[bytes]:
    return [raw[place::value_bytes] for place in range(value_bytes)]


def _codec_interleave(planes: bytes, value_bytes: int) -> bytes:
    values = len(planes) // value_bytes
    raw = bytearray(len(planes))
    for place in range(value_bytes):
        raw[place::value_bytes] = planes[place * values : (place + 1) * values]
    return bytes(raw)


# ---- general-purpose codecs, bounded


def _brotli_decoded(payload: bytes, raw_size: int) -> bytes:
    decoder = brotli.Decompressor()
    planes: bytes = decoder.process(payload, output_buffer_limit=raw_size + 1)
    if not decoder.is_finished():
        raise MalformedError(f"brotli payload of {len(payload)} bytes does not end after {raw_size} bytes")
    return planes


def brotli_encoded(raw: bytes, value_bytes: int) -> bytes:
    """The payload of codec ``brotli``; that of an empty stream is empty."""
    return bytes(brotli.compress(b"".join(_codec_planes(raw, value_bytes)), quality=11, lgwin=24)) if raw else b""


# ---- range coding


def range_encoded(raw: bytes, value_bytes: int) -> bytes:
    """The payload of codec ``range``; that of an empty stream is empty."""
    if not raw:
        return b""
    pieces = [
        _range_plane_encoded(np.frombuffer(plane, np.uint8), _range_flip(value_bytes))
        for plane in _codec_planes(raw, value_bytes)
    ]
    return b"".join([*(_leb128(len(piece)) + piece for piece in pieces[:-1]), pieces[-1]])


def _range_decoded(payload: bytes, raw_size: int, value_bytes: int) -> bytes:
    values, planes, rest = raw_size // value_bytes, [], memoryview(payload)
    for place in range(value_bytes):
        if place < value_bytes - 1:
            size, rest = _read_leb128(rest)
            piece, rest = rest[:size], rest[size:]
        else:
            piece = rest
        planes.append(_range_plane_decoded(piece, values, _range_flip(value_bytes)))
    return b"".join(planes)


def _range_flip(value_bytes: int) -> int:
    """Bytes are coded as ``byte ^ flip``: signed symbols then lie in one run around 128."""
    return 0x80 if value_bytes == 1 else 0


def _range_plane_encoded(plane: _CodecBytes, flip: int) -> bytes:
    stored = bytes([_RANGE_STORED]) + plane.tobytes()
    shifted = plane ^ np.uint8(flip)
    first, last = int(shifted.min()), int(shifted.max())
    counts = np.bincount(shifted, minlength=256)[first : last + 1]
    mantissa_bits = min(_RANGE_MANTISSA_BITS, key=lambda bits: _range_cost_bytes(counts, bits))
    codes = _range_codes(counts, mantissa_bits)
    head = bytes([_RANGE_CODED, mantissa_bits, first, last - first]) + b"".join(map(_leb128, codes.tolist()))
    words = b""
    if first < last:
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode((shifted - first).astype(np.int32), _range_model(codes, mantissa_bits))
        words = encoder.get_compressed().astype("<u4").tobytes()
    return min(head + words, stored, key=len)


def _range_plane_decoded(piece: memoryview, values: int, flip: int) -> bytes:
    if len(piece) == 0:
        raise MalformedError("range payload ends before its last plane")
    if piece[0] == _RANGE_STORED:
        if len(piece) - 1 != values:
            raise MalformedError(f"stored plane must have {values} bytes, got {len(piece) - 1}")
        return bytes(piece[1:])
    if piece[0] != _RANGE_CODED:
        raise MalformedError(f"mode of a plane must be {_RANGE_STORED} or {_RANGE_CODED}, got {piece[0]}")
    mantissa_bits, first, more = piece[1], piece[2], piece[3]
    if mantissa_bits not in _RANGE_MANTISSA_BITS or first + more > 255:
        raise MalformedError(f"range table is damaged: {mantissa_bits} mantissa bits, symbols {first}..{first + more}")
    codes, rest = [], piece[4:]
    for _ in range(more + 1):
        code, rest = _read_leb128(rest)
        codes.append(code)
    if len(rest) % 4:
        raise MalformedError(f"range coder's words must be 4 bytes each, got {len(rest)} bytes")
    if more == 0:
        if len(rest):
            raise MalformedError(f"a plane of one symbol needs no words, got {len(rest)} bytes")
        return bytes([first ^ flip]) * values
    model = _range_model(np.array(codes, np.int64), mantissa_bits)
    words = np.frombuffer(rest, "<u4").astype(np.uint32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    plane = np.empty(values, np.uint8)
    encoder = constriction.stream.queue.RangeEncoder()
    for start in range(0, values, _RANGE_CHUNK):
        stop = min(start + _RANGE_CHUNK, values)
        symbols = decoder.decode(model, stop - start)
        plane[start:stop] = symbols
        encoder.encode(symbols, model)
    # the decoder reads on past the end and stops early without complaint; encoding again costs little and proves both
    if not np.array_equal(encoder.get_compressed(), words):
        raise MalformedError(f"range payload is not that of {values} values")
    return ((plane + np.uint8(first)) ^ np.uint8(flip)).tobytes()


def _range_model(codes: _CodecCounts, mantissa_bits: int) -> Any:
    """The categorical model of a table; symbols that never occur get the least probability that the coder has."""
    if int(codes.max()) >> mantissa_bits > _RANGE_EXPONENT_CAP:
        raise MalformedError(f"a count of a range table must be below 2**{_RANGE_EXPONENT_CAP + mantissa_bits}")
    counts = _range_counts(codes, mantissa_bits)
    if not counts.any():
        raise MalformedError("a range table must have a count above zero")
    return constriction.stream.model.Categorical(counts.astype(np.float64), perfect=False)


def _range_cost_bytes(counts: _CodecCounts, mantissa_bits: int) -> float:
    """Bytes of table and words together, nearly: what a coarser table saves against what it costs."""
    codes = _range_codes(counts, mantissa_bits)
    rounded = _range_counts(codes, mantissa_bits)
    occurs = counts > 0
    bits = -(counts[occurs] * np.log2(rounded[occurs] / rounded.sum())).sum()
    digits = sum(int((codes >= 1 << 7 * place).sum()) for place in range(1, 5))
    return float(bits) / 8 + len(codes) + digits


def _range_codes(counts: _CodecCounts, mantissa_bits: int) -> _CodecCounts:
    """Exponent and mantissa of each count, rounded down, as one integer; exact below 2**(mantissa_bits + 1)."""
    bit_lengths = np.frexp(counts.astype(np.float64))[1].astype(np.int64)
    exponents = np.maximum(0, bit_lengths - 1 - mantissa_bits)
    return (exponents << mantissa_bits) + (counts >> exponents)


def _range_counts(codes: _CodecCounts, mantissa_bits: int) -> _CodecCounts:
    """Middle of the counts that have these codes."""
    exponents = np.maximum(0, (codes >> mantissa_bits) - 1)
    return ((codes - (exponents << mantissa_bits)) << exponents) + ((1 << exponents) >> 1)


def _leb128(number: int) -> bytes:
    return bytes(_leb128_digits(number))


def _leb128_digits(number: int) -> Iterator[int]:
    while number >= 0x80:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number


def _read_leb128(data: memoryview) -> tuple[int, memoryview]:
    number = 0
    for place, digit in enumerate(data[:5]):
        number |= (digit & 0x7F) << (7 * place)
        if digit < 0x80:
            return number, data[place + 1 :]
    raise MalformedError("a number of a range payload does not end")


# ---- fairway.quant.artifact ------------------------------------------------------------------------------------------
# The file format: what it holds, in which streams, and a digest over all of it. No pickle, nothing that runs.


ARTIFACT_MAGIC = b"FAIRWAY\0"
ARTIFACT_VERSION = 1

_ARTIFACT_PREFIX = struct.Struct("<8sHII")
_ARTIFACT_DIGEST_BYTES = 32
_ARTIFACT_HEADER_CAP = 1 << 20
_ARTIFACT_VALUES_CAP = 1 << 26
_ARTIFACT_TENSORS_CAP = 4096
_ARTIFACT_AXES_CAP = 4


@dataclass(frozen=True, slots=True)
class StoredStream:
    """One stream: its codec and its compressed bytes."""

    name: str
    codec: StoredCodec
    payload: bytes
    raw_size: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file's whole content; ``write_artifact`` and ``read_artifact`` are inverse to each other."""

    tensors: tuple[StoredTensor, ...]
    streams: tuple[StoredStream, ...]
    rotation: NoRotation | Hadamard
    extra: Mapping[str, Any]

    def header(self) -> dict[str, Any]:
        """The header as the file holds it."""
        rotation = {"kind": "hadamard", "seed": self.rotation.seed} if isinstance(self.rotation, Hadamard) else None
        return {
            "extra": dict(self.extra),
            "rotation": rotation,
            "streams": [
                {"name": s.name, "codec": s.codec, "size": len(s.payload), "raw_size": s.raw_size} for s in self.streams
            ],
            "tensors": [
                {"name": t.name, "shape": list(t.shape), "role": t.role.value, "bits": t.bits, "stream": t.stream}
                for t in self.tensors
            ],
        }


def write_artifact(artifact: Artifact) -> bytes:
    """The file's bytes; equal artifacts give equal bytes."""
    text = json.dumps(artifact.header(), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    assert len(text) <= _ARTIFACT_HEADER_CAP, (len(text), _ARTIFACT_HEADER_CAP)
    stored = zlib.compress(text, 9)
    prefix = _ARTIFACT_PREFIX.pack(ARTIFACT_MAGIC, ARTIFACT_VERSION, len(stored), len(text))
    body = b"".join([prefix, stored, *(stream.payload for stream in artifact.streams)])
    return body + hashlib.sha256(body).digest()


def read_artifact(data: bytes) -> Artifact:
    """The artifact that ``write_artifact`` made of these bytes of; ``ArtifactError`` for anything else."""
    smallest = _ARTIFACT_PREFIX.size + _ARTIFACT_DIGEST_BYTES
    if len(data) < smallest:
        _artifact_refuse(f"must have at least {smallest} bytes, got {len(data)}")
    magic, version, stored_size, text_size = _ARTIFACT_PREFIX.unpack_from(data)
    if magic != ARTIFACT_MAGIC:
        _artifact_refuse(f"must begin with {ARTIFACT_MAGIC!r}, got {magic!r}")
    if version != ARTIFACT_VERSION:
        _artifact_refuse(f"version must be {ARTIFACT_VERSION}, got {version}")
    body, digest = data[:-_ARTIFACT_DIGEST_BYTES], data[-_ARTIFACT_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise ArtifactError(
            "artifact SHA-256 of its content differs from the one at its end; it is truncated or damaged"
        )
    start = _ARTIFACT_PREFIX.size
    header = _artifact_header(body[start : start + stored_size], stored_size, text_size)
    tensors = _artifact_tensors(header["tensors"])
    streams = _artifact_streams(header["streams"], body[start + stored_size :], raw_sizes(tensors))
    return Artifact(tensors, streams, _artifact_rotation(header["rotation"]), header["extra"])


def _artifact_refuse(reason: str) -> NoReturn:
    raise MalformedError(f"artifact {reason}")


def _artifact_header(stored: bytes, stored_size: int, text_size: int) -> dict[str, Any]:
    if not 0 < text_size <= _ARTIFACT_HEADER_CAP:
        _artifact_refuse(f"header must be 1..{_ARTIFACT_HEADER_CAP} bytes, got {text_size}")
    if len(stored) != stored_size:
        _artifact_refuse(f"header must have {stored_size} stored bytes, got {len(stored)}")
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(stored, text_size + 1)
        if not inflate.eof or inflate.unused_data or len(text) != text_size:
            _artifact_refuse(f"header does not inflate to {text_size} bytes")
        # RecursionError: brackets within brackets, thousands of them
        header = json.loads(text.decode(), parse_constant=_artifact_no_constant)
    except (zlib.error, ValueError, RecursionError) as error:
        raise MalformedError(f"artifact header is not deflated JSON: {str(error)[:200]}") from error
    fields = _artifact_object(header, {"extra", "rotation", "streams", "tensors"}, "header")
    if not isinstance(fields["extra"], dict):
        _artifact_refuse("header's extra must be an object")
    return fields


def _artifact_no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _artifact_object(value: object, keys: set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != keys:
        _artifact_refuse(f"{what} must be an object with keys {', '.join(sorted(keys))}")
    return value


def _artifact_list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > _ARTIFACT_TENSORS_CAP:
        _artifact_refuse(f"{what} must be a list of at most {_ARTIFACT_TENSORS_CAP}")
    return value


def _artifact_is_count(value: object, most: int) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= most


def _artifact_tensors(listed: object) -> tuple[StoredTensor, ...]:
    tensors = tuple(_artifact_tensor(entry) for entry in _artifact_list(listed, "tensors"))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        _artifact_refuse("names a tensor twice")
    values = sum(tensor.count for tensor in tensors)
    if values > _ARTIFACT_VALUES_CAP:
        _artifact_refuse(f"may hold at most {_ARTIFACT_VALUES_CAP} values, its header speaks of {values}")
    return tensors


def _artifact_tensor(entry: object) -> StoredTensor:
    fields = _artifact_object(entry, {"name", "shape", "role", "bits", "stream"}, "tensor")
    name, shape, bits = fields["name"], fields["shape"], fields["bits"]
    stream = Role.CONTROL.value if bits == KEPT_BITS else fields["role"]
    named = isinstance(name, str) and is_named(name) and fields["role"] == role_of(name).value
    if not named or fields["stream"] != stream:
        _artifact_refuse(f"tensor {str(name)[:80]!r} must have the role and the stream that its name says")
    role = role_of(name)
    if not isinstance(shape, list) or not 1 <= len(shape) <= _ARTIFACT_AXES_CAP:
        _artifact_refuse(f"tensor {name} must have 1..{_ARTIFACT_AXES_CAP} axes")
    if not all(_artifact_is_count(axis, _ARTIFACT_VALUES_CAP) and axis > 0 for axis in shape):
        _artifact_refuse(f"tensor {name} must have positive sizes, none above {_ARTIFACT_VALUES_CAP}")
    is_symbols = role is not Role.CONTROL and len(shape) == 2
    if type(bits) is not int or not (bits == KEPT_BITS or (is_symbols and 2 <= bits <= 8)):
        _artifact_refuse(
            f"tensor {name} must be kept in {KEPT_BITS} bits or be a matrix of 2..8 bits, as its role says"
        )
    return StoredTensor(name, tuple(shape), role, bits)


def _artifact_streams(listed: object, body: bytes, sizes: Mapping[str, int]) -> tuple[StoredStream, ...]:
    streams, start = [], 0
    for entry in _artifact_list(listed, "streams"):
        fields = _artifact_object(entry, {"name", "codec", "size", "raw_size"}, "stream")
        name, codec, size, raw_size = fields["name"], fields["codec"], fields["size"], fields["raw_size"]
        if not isinstance(name, str) or name not in sizes:
            _artifact_refuse(f"stream {str(name)[:80]!r} belongs to no tensor")
        if codec not in STORED_CODECS:
            _artifact_refuse(f"stream {name} must have a codec of {', '.join(STORED_CODECS)}, got {str(codec)[:80]!r}")
        if type(raw_size) is not int or raw_size != sizes[name]:
            _artifact_refuse(
                f"stream {name} must unpack to {sizes[name]} bytes, as the shapes say, not {str(raw_size)[:80]}"
            )
        if not _artifact_is_count(size, len(body) - start):
            _artifact_refuse(f"stream {name} must lie within the file, got a size of {str(size)[:80]}")
        streams.append(StoredStream(name, codec, body[start : start + size], raw_size))
        start += size
    if start != len(body):
        _artifact_refuse(f"has {len(body) - start} bytes that belong to no stream")
    if sorted(stream.name for stream in streams) != sorted(sizes):
        _artifact_refuse(f"must have the streams {', '.join(sizes)}, once each")
    return tuple(streams)


def _artifact_rotation(entry: object) -> NoRotation | Hadamard:
    if entry is None:
        return NoRotation()
    fields = _artifact_object(entry, {"kind", "seed"}, "rotation")
    if fields["kind"] != "hadamard" or type(fields["seed"]) is not int:
        _artifact_refuse("rotation must be null or of kind hadamard with a seed")
    return Hadamard(seed=fields["seed"])


# ---- fairway.quant.classes -------------------------------------------------------------------------------------------
# Range coding with a model for each class of rows or columns, where their symbols differ in spread.


_CLASSES_ROUNDS = 4
MOST_CLASSES = 16


def stream_shapes(tensors: Sequence[StoredTensor], stream: str) -> list[tuple[int, int]]:
    """Rows and columns of the matrices whose symbols lie in a stream, in their order."""
    return [(tensor.shape[0], tensor.shape[1]) for tensor in tensors if tensor.stream == stream]


def payload_parts(payload: bytes, place: int, count: int) -> list[bytes]:
    """The parts whose sizes stand at ``place``, to the payload's end."""
    start = place + 4 * count
    if len(payload) < start:
        raise MalformedError(f"payload of classes ends at byte {len(payload)}, before its parts begin")
    sizes = struct.unpack_from(f"<{count}I", payload, place)
    if start + sum(sizes) != len(payload):
        raise MalformedError(f"parts of classes end at byte {start + sum(sizes)}, the payload has {len(payload)}")
    parts = []
    for size in sizes:
        parts.append(payload[start : start + size])
        start += size
    return parts


def read_lines(quant: QuantSpec, part: bytes, lines: int, kinds: int) -> Tensor:
    """The class of each line."""
    class_L = byte_tensor(decompress(quant, "range", part, raw_size=lines, value_bytes=1))
    if int(class_L.max()) >= kinds:
        raise MalformedError(f"a line has class {int(class_L.max())}, but there are {kinds}")
    return class_L


def pair_classes(
    symbols_N: Tensor,
    shapes: Sequence[tuple[int, int]],
    row_counts: Sequence[int],
    column_counts: Sequence[int],
    table_bits: float,
) -> tuple[float, Tensor, Tensor]:
    """Bits, the class of each row, and for each class of rows the class of each column: the best that were tried."""
    rows_LS = line_counts(symbols_N, shapes, 1)
    best: tuple[float, Tensor, Tensor] | None = None
    for kinds in row_counts:
        row_L, _ = line_classes(rows_LS, kinds, table_bits)
        row_N = spread_lines(row_L, shapes, 1)
        row_bits = _classes_line_bits(row_L, kinds)
        columns = [line_counts(symbols_N, shapes, 0, row_N == kind) for kind in range(kinds)]
        for count in column_counts:
            found = [line_classes(counts_LS, count, table_bits) for counts_LS in columns]
            bits = row_bits + sum(each for _, each in found)
            if best is None or bits < best[0]:
                best = bits, row_L, torch.stack([class_L for class_L, _ in found])
    assert best is not None
    return best


def spread_pairs(row_L: Tensor, column_RL: Tensor, shapes: Sequence[tuple[int, int]], count: int) -> Tensor:
    """For each symbol its row's class times ``count`` plus its column's class."""
    row_N = spread_lines(row_L, shapes, 1)
    pair_N = torch.empty(len(row_N), dtype=torch.int16)
    for kind, column_L in enumerate(column_RL):
        of_kind_N = row_N == kind
        pair_N[of_kind_N] = kind * count + spread_lines(column_L, shapes, 0)[of_kind_N].to(torch.int16)
    return pair_N


def byte_tensor(raw: bytes) -> Tensor:
    """Bytes as numbers, with memory of their own."""
    # bytearray: torch wants memory that it may write to
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)


def spread_lines(line_L: Tensor, shapes: Sequence[tuple[int, int]], axis: int) -> Tensor:
    """A value of each line to each symbol of that line."""
    spread, start = [], 0
    for rows, columns in shapes:
        lines = rows if axis else columns
        of_matrix = line_L[start : start + lines]
        spread.append(of_matrix.repeat(columns) if axis else of_matrix.repeat_interleave(rows))
        start += lines
    return torch.cat(spread)


def line_counts(
    symbols_N: Tensor, shapes: Sequence[tuple[int, int]], axis: int, chosen_N: Tensor | None = None
) -> Tensor:
    """How often each symbol occurs in each line, of all or of those that are chosen."""
    lines = sum(shape[1 - axis] for shape in shapes)
    line_N = spread_lines(torch.arange(lines, dtype=torch.int32), shapes, axis)
    places_N = line_N.mul_(256).add_(symbols_N)
    if chosen_N is not None:
        places_N = places_N[chosen_N]
    return places_N.bincount(minlength=256 * lines).view(lines, 256)


def line_classes(counts_LS: Tensor, count: int, table_bits: float) -> tuple[Tensor, float]:
    """Class of each line and the bits of all: by spread at first, then by which class's model takes fewest bits.

    ``table_bits`` is what one more model costs.
    """
    used_S = counts_LS.any(0)
    counts_LS = counts_LS[:, used_S].double()
    sizes = torch.arange(256)[used_S]
    distance_S = torch.where(sizes < 128, sizes, 256 - sizes).double()
    order_L = (counts_LS @ distance_S / counts_LS.sum(1).clamp_min(1)).argsort(stable=True)
    class_L = torch.empty_like(order_L)
    class_L[order_L] = torch.arange(len(order_L)) * count // len(order_L)
    for _ in range(_CLASSES_ROUNDS):
        class_L = (counts_LS @ _classes_costs(counts_LS, class_L, count).T).argmin(1)
    costs_KS = _classes_costs(counts_LS, class_L, count)
    bits = float((counts_LS @ costs_KS.T).gather(1, class_L[:, None]).sum())
    return class_L.to(torch.uint8), bits + _classes_line_bits(class_L, count) + count * table_bits


def _classes_line_bits(class_L: Tensor, count: int) -> float:
    """Bits of the lines' classes themselves."""
    shares_K = class_L.bincount(minlength=count).double() / len(class_L)
    return float(torch.special.entr(shares_K).sum()) / 0.6931471805599453 * len(class_L)


def _classes_costs(counts_LS: Tensor, class_L: Tensor, count: int) -> Tensor:
    """Bits of each symbol under each class's frequencies; a quarter of an occurrence for those that never occur."""
    sums_KS = torch.zeros(count, counts_LS.shape[1], dtype=torch.float64).index_add_(0, class_L, counts_LS) + 0.25
    return -(sums_KS / sums_KS.sum(1, keepdim=True)).log2()


# ---- fairway.quant.trellis_codec -------------------------------------------------------------------------------------
# Range coding of symbols that are paths of a trellis: half of each symbol's parity-mates never need be told apart.


_TRELLIS_ROW_COUNTS, _TRELLIS_COLUMN_COUNTS = (1, 2, 4), (1, 2, 4, 8, 16)
_TRELLIS_TABLE_BITS = 1200.0
"""What one more class costs: two tables, one a parity, and what their words leave unused."""

_TrellisBytes = np.ndarray[Any, np.dtype[np.uint8]]
_TrellisPlaces = np.ndarray[Any, np.dtype[np.int64]]


def stream_grid(quant: QuantSpec, stream: str) -> Grid | TrellisGrid | None:
    """The grid of a stream's symbols; None for a stream that has no grid of a role."""
    return grid_of(Role(stream), quant) if stream in list(Role) else None


def trellis_stream(quant: QuantSpec, tensors: Sequence[StoredTensor], stream: str, raw: bytes) -> StoredStream:
    """A stream of symbols that all lie on paths."""
    grid = stream_grid(quant, stream)
    assert isinstance(grid, TrellisGrid), (stream, grid)
    shapes = stream_shapes(tensors, stream)
    return StoredStream(stream, "trellis", trellis_encoded(raw, shapes, grid.states, grid.segment), len(raw))


def trellis_encoded(raw: bytes, shapes: Sequence[tuple[int, int]], states: int, segment: int) -> bytes:
    """The payload; equal input gives equal output. ``GateError`` if some symbols are on no path."""
    symbol_N = byte_tensor(raw)
    _, row_L, column_RL = pair_classes(
        symbol_N, shapes, _TRELLIS_ROW_COUNTS, _TRELLIS_COLUMN_COUNTS, _TRELLIS_TABLE_BITS
    )
    kinds, count = len(column_RL), int(column_RL.max()) + 1
    place_N, active = _trellis_walk(shapes, segment)
    walked_N = symbol_N.numpy()[place_N]
    _trellis_check(walked_N, active, states)
    context_N = spread_pairs(row_L, column_RL, shapes, count).numpy()[place_N] * 2 + (walked_N & 1)
    halves = [(walked_N[context_N == context].view(np.int8) >> 1) for context in range(2 * kinds * count)]
    parts = [range_encoded(each.tobytes(), 1) for each in (row_L.numpy(), *column_RL.numpy(), *halves)]
    sizes = [*map(len, halves), *map(len, parts)]
    head = struct.pack(f"<BHBB{len(sizes)}I", states.bit_length() - 1, segment, kinds, count, *sizes)
    return b"".join([head, *parts])


def trellis_decoded(quant: QuantSpec, payload: bytes, shapes: Sequence[tuple[int, int]]) -> bytes:
    """The stream again; ``ArtifactError`` for a payload that ``trellis_encoded`` does not write."""
    head = payload.ljust(5, b"\0")
    log_states, segment, kinds, count = struct.unpack_from("<BHBB", head)
    states, start = 1 << log_states, 5 + 8 * kinds * count
    is_sound = states in (1, *TRELLIS_STATES) and segment and kinds in range(1, MOST_CLASSES + 1)
    if not is_sound or count not in range(1, MOST_CLASSES + 1) or len(payload) < start:
        raise MalformedError(
            f"payload of a trellis is damaged: 2**{log_states} states, {segment} rows a segment,"
            f" {kinds} times {count} classes, {len(payload)} bytes"
        )
    sizes = struct.unpack_from(f"<{2 * kinds * count}I", payload, 5)
    parts = payload_parts(payload, start, 1 + kinds + len(sizes))
    row_L = read_lines(quant, parts[0], sum(shape[0] for shape in shapes), kinds)
    columns = sum(shape[1] for shape in shapes)
    column_RL = torch.stack([read_lines(quant, part, columns, count) for part in parts[1 : 1 + kinds]])
    place_N, active = _trellis_walk(shapes, segment)
    if sum(sizes) != len(place_N):
        raise MalformedError(f"payload of a trellis has {sum(sizes)} symbols instead of {len(place_N)}")
    halves = [
        np.frombuffer(decompress(quant, "range", part, raw_size=size, value_bytes=1), np.uint8)
        for part, size in zip(parts[1 + kinds :], sizes, strict=True)
    ]
    symbol_N = np.empty(len(place_N), np.uint8)
    context_N = spread_pairs(row_L, column_RL, shapes, count).numpy()[place_N] * 2
    symbol_N[place_N] = _trellis_walked(halves, context_N, active, states)
    return symbol_N.tobytes()


def _trellis_walked(
    halves: Sequence[_TrellisBytes], context_N: np.ndarray[Any, np.dtype[np.int16]], active: Sequence[int], states: int
) -> _TrellisBytes:
    """Symbols in the order of the walk: each path takes the next half of its context, row after row."""
    h0, h1 = map(np.uint8, trellis_checks(states))
    state_L: np.ndarray[Any, Any] = np.zeros(active[0], np.uint8)
    symbol_N = np.empty(len(context_N), np.uint8)
    starts = [0] * len(halves)
    start = 0
    for lanes in active:
        stop = start + lanes
        state_L = state_L[:lanes]
        odd_L = state_L & 1
        context_L = context_N[start:stop] + odd_L
        half_L = np.empty(lanes, np.uint8)
        counts = np.bincount(context_L, minlength=len(halves)).tolist()
        pieces = []
        for context, count in enumerate(counts):
            pieces.append(halves[context][starts[context] : starts[context] + count])
            starts[context] += count
        taken_L = np.concatenate(pieces)
        if len(taken_L) != lanes:
            raise MalformedError("paths of a trellis take more symbols of one parity than there are")
        # stable sorts of short integers take one pass
        half_L[context_L.argsort(kind="stable")] = taken_L
        symbol_N[start:stop] = half_L << 1 | odd_L
        state_L = state_L >> 1 ^ odd_L * h0 ^ (half_L & 1) * h1
        start = stop
    return symbol_N


def _trellis_check(symbol_N: _TrellisBytes, active: Sequence[int], states: int) -> None:
    """``GateError`` unless every path goes where its symbols say."""
    h0, h1 = map(np.uint8, trellis_checks(states))
    state_L: np.ndarray[Any, Any] = np.zeros(active[0], np.uint8)
    start = 0
    for lanes in active:
        symbol_L = symbol_N[start : start + lanes]
        odd_L = symbol_L & 1
        if not np.array_equal(odd_L, state_L[:lanes] & 1):
            raise GateError(f"symbols of a trellis of {states} states must be a path through it; round them again")
        state_L = state_L[:lanes] >> 1 ^ odd_L * h0 ^ (symbol_L >> 1 & 1) * h1
        start += lanes


def _trellis_walk(shapes: Sequence[tuple[int, int]], segment: int) -> tuple[_TrellisPlaces, list[int]]:
    """Where in the stream each symbol of the walk lies, and of how many paths each step of the walk is."""
    starts, lengths, offset = [], [], 0
    for rows, columns in shapes:
        for first in range(0, rows, segment):
            starts.append(np.arange(columns, dtype=np.int64) * rows + offset + first)
            lengths.append(np.full(columns, min(segment, rows - first)))
        offset += rows * columns
    start_L, length_L = np.concatenate(starts), np.concatenate(lengths)
    # longest first, so that paths that have ended lie behind those that go on
    order_L = (-length_L).argsort(kind="stable")
    start_L, length_L = start_L[order_L], length_L[order_L]
    active = [int((length_L > step).sum()) for step in range(int(length_L[0]))]
    return np.concatenate([start_L[:lanes] + step for step, lanes in enumerate(active)]), active


# ---- fairway.quant.triangle ------------------------------------------------------------------------------------------
# Q and O of some layers made symmetric after training, and stored as one triangle each (#1214, recipes D.5).


def square(triangle_1N: Tensor) -> Tensor:
    """The symmetric matrix of a triangle; ``ArtifactError`` if so many entries make none."""
    entries = triangle_1N.numel()
    width = (isqrt(8 * entries + 1) - 1) // 2
    if width * (width + 1) // 2 != entries:
        raise ArtifactError(f"a triangle must have 1, 3, 6, 10, ... entries, got {entries}")
    rows, columns = torch.triu_indices(width, width)
    w_DD = torch.empty(width, width, dtype=triangle_1N.dtype)
    w_DD[rows, columns] = w_DD[columns, rows] = triangle_1N[0]
    return w_DD


# ---- fairway.quant.pipeline ------------------------------------------------------------------------------------------
# Weights to an artifact and back, in order: gates, rotation, rounding, packing; and the other way round.


ROTATION_LIMIT = 1e-3
"""Largest change of a softcapped logit by rotation, in float32."""
GPTQ_LIMIT = 1.001
"""GPTQ's output error over that of rounding to nearest: 1, and room for float32 sums."""

_PIPELINE_PROBE_TOKENS = 64


@torch.no_grad()
def rotate_gptq(
    model: Gpt,
    hessians: Mapping[str, Tensor],
    quant: QuantSpec,
    events: EventLog | None = None,
    rounds: Rounder | None = None,
) -> QuantizedModel:
    """Every tensor of the model rounded as the plan says, on the CPU; the arguments stay as they are.

    Matrices are rounded one after the other, or all by ``rounds``, such as ``round_in_batches`` of some ranks.

    Matrices are rotated first, where the recipe says so, and their Hessians with them. ``GateError`` if a Hessian
    is no Hessian, a weight is not finite, rotation changes what the float model computes, or GPTQ does worse than
    rounding to nearest on its own Hessian. The ``tensor`` events hold errors as shares of the output's energy;
    those without rotation are for comparison only.
    """
    state = {name: tensor.detach().cpu() for name, tensor in unbank(model.state_dict(), model.spec).items()}
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise GateError(f"tensor {name} is not finite: training diverged")
    treatments = plan({name: tensor.shape for name, tensor in state.items()}, quant)
    check_hessians(hessians, {t.name: t.shape[1] for t in treatments if t.grid is not None})
    turns = rotations({t.name: t.shape for t in treatments}, quant.rotation)
    if turns:
        _pipeline_gate(events, "rotation_logit_change", rotation_deviation(model.spec, state, turns), ROTATION_LIMIT)

    quantized = QuantizedModel({}, {}, {})
    ratios = {"none": 0.0}
    if rounds is not None:
        found = rounds(treatments, state, hessians, turns, quant)
    for treatment in treatments:
        name, grid = treatment.name, treatment.grid
        if grid is None:
            quantized.kept[name] = _pipeline_kept(name, state[name])
            continue
        w_OI, h_II = state[name].float(), hessians[name].cpu().float()
        turn_II = turns.get(input_part(name) or "")
        if rounds is None:
            plain = rounded = round_matrix(name, w_OI, h_II, grid, quant)
            if turn_II is not None:
                w_OI, h_II = bake(w_OI, turn_II), bake_hessian(h_II, turn_II)
                rounded = round_matrix(name, w_OI, h_II, grid, quant)
        else:
            plain, rounded = found[name]
        quantized.symbols[name], quantized.steps[name] = rounded.symbols, rounded.steps
        ratios[name] = rounded.gptq_over_nearest
        if events is not None:
            events.emit(
                "tensor",
                name=name,
                role=treatment.role.value,
                bits=grid.bits,
                step_mean=float(rounded.steps.float().mean()),
                error_nearest=rounded.error_nearest,
                error_gptq=rounded.error_gptq,
                error_nearest_unrotated=plain.error_nearest,
                error_gptq_unrotated=plain.error_gptq,
            )
    worst = max(ratios, key=lambda name: ratios[name])
    _pipeline_gate(events, "gptq_over_nearest", ratios[worst], GPTQ_LIMIT, worst)
    return quantized


def rotation_deviation(spec: ModelSpec, state: Mapping[str, Tensor], turns: Mapping[str, Tensor]) -> float:
    """Largest change of a softcapped logit when baked weights read rotated inputs, in float32."""
    baked = dict(state)
    for name, w_OI in state.items():
        turn_II = turns.get(input_part(name) or "")
        if turn_II is not None:
            baked[name] = bake(w_OI, turn_II)
    shape = (1, _PIPELINE_PROBE_TOKENS)
    tokens_BT = torch.randint(spec.vocab_size, shape, generator=generator(0, "rotation probe"))
    plain = _pipeline_logits(spec, state, tokens_BT, PLAIN)
    return float((plain - _pipeline_logits(spec, baked, tokens_BT, online_hooks(turns))).abs().max())


def _pipeline_logits(spec: ModelSpec, state: Mapping[str, Tensor], tokens_BT: Tensor, hooks: Hooks) -> Tensor:
    model = Gpt(spec)
    model.load_state_dict(bank(state, spec))
    logits: Tensor = model(tokens_BT, looped=True, hooks=hooks)
    return logits


def _pipeline_kept(name: str, tensor: Tensor) -> Tensor:
    half = tensor.half()
    if not bool(half.isfinite().all()):
        raise GateError(f"tensor {name} holds {float(tensor.abs().max()):.4g}, beyond half precision (65504)")
    return half


def _pipeline_gate(events: EventLog | None, name: str, value: float, limit: float, tensor: str | None = None) -> None:
    if events is not None:
        events.emit("gate", name=name, value=value, limit=limit, **({} if tensor is None else {"tensor": tensor}))
    if value > limit:
        place = "" if tensor is None else f" of {tensor}"
        raise GateError(f"{name}{place} must be at most {limit:g}, got {value:.6g}")


def pack(
    quantized: QuantizedModel,
    quant: QuantSpec,
    extra: Mapping[str, Any],
) -> bytes:
    """The artifact's bytes; equal arguments give equal bytes. ``extra`` (JSON) goes into the header as it is."""
    named = {**quantized.symbols, **quantized.kept}
    treatments = plan({name: tensor.shape for name, tensor in named.items()}, quant)
    tensors = tuple(StoredTensor(t.name, t.shape, t.role, t.bits) for t in treatments)
    streams = []
    for stream, raw in to_streams(tensors, quantized).items():
        if isinstance(stream_grid(quant, stream), TrellisGrid):
            streams.append(trellis_stream(quant, tensors, stream, raw))
            continue
        codec, payload = compress(quant, raw, value_bytes=value_bytes(stream))
        streams.append(StoredStream(stream, codec, payload, len(raw)))
    return write_artifact(Artifact(tensors, tuple(streams), quant.rotation, extra))


def restore_quantized(artifact: Artifact, quant: QuantSpec) -> QuantizedModel:
    """Symbols, steps and kept tensors of an artifact; ``ArtifactError`` if a payload or a value is damaged."""
    streams = {}
    for s in artifact.streams:
        if s.codec == "trellis" and isinstance(stream_grid(quant, s.name), TrellisGrid):
            streams[s.name] = trellis_decoded(quant, s.payload, stream_shapes(artifact.tensors, s.name))
            continue
        streams[s.name] = decompress(quant, s.codec, s.payload, raw_size=s.raw_size, value_bytes=value_bytes(s.name))
    assert streams.keys() == raw_sizes(artifact.tensors).keys()
    quantized = from_streams(artifact.tensors, streams)
    for tensor in artifact.tensors:
        if not _pipeline_is_sound(tensor, quantized):
            raise MalformedError(
                f"tensor {tensor.name} of the artifact holds values that its {tensor.bits} bits do not"
            )
    return quantized


def _pipeline_is_sound(tensor: StoredTensor, quantized: QuantizedModel) -> bool:
    """Whether what is kept is finite, steps are finite and positive, and symbols lie on the grid."""
    if tensor.is_kept:
        return bool(quantized.kept[tensor.name].isfinite().all())
    steps, symbols = quantized.steps[tensor.name], quantized.symbols[tensor.name]
    is_on_grid = -int(symbols.min()) <= largest_symbol(tensor.bits) >= int(symbols.max())
    return is_on_grid and bool((steps.isfinite() & (steps > 0)).all())


def unpack(data: bytes, quant: QuantSpec, *, fold: bool = True) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Float32 weights by names outside banks, and the header; ``ArtifactError`` if the bytes are no artifact.

    ``quant`` is the recipe's, by which the artifact was packed. With ``fold`` any rotation is undone in the weights.
    Without it they stay baked and need ``online_hooks``: slower, the same function.
    """
    artifact = read_artifact(data)
    quantized = restore_quantized(artifact, quant)
    turns = rotations({t.name: t.shape for t in artifact.tensors}, artifact.rotation) if fold else {}
    state = {}
    for tensor in artifact.tensors:
        if tensor.is_kept:
            state[tensor.name] = quantized.kept[tensor.name].float()
            continue
        w_OI = decode(quantized.symbols[tensor.name], quantized.steps[tensor.name])
        turn_II = turns.get(input_part(tensor.name) or "")
        state[tensor.name] = w_OI if turn_II is None else unbake(w_OI, turn_II)
    return state, artifact.header()


# ---- fairway.quant.slopes --------------------------------------------------------------------------------------------
# Steps at which all matrices have one slope of loss over bits, and the slope that fills a file (pure).


_SLOPES_ALL = 256.0
"""Binary logarithm of nats a bit, or of its inverse, beyond whatever a curve has."""
_SLOPES_TRIES = 16


@dataclass(frozen=True, slots=True)
class Curve:
    """What one matrix costs at steps an octave apart, the first one ``2**first`` times that of its role's grid."""

    name: str
    first: int
    bits: Sequence[float]
    """Of the whole matrix, at each step."""
    nats: Sequence[float]
    """By which the loss rises."""
    least: float = -math.inf
    """Octaves that the step may not fall below."""

    def octaves_at(self, slope: float) -> float:
        """The step, as octaves above the grid's, where the curve has 2**slope nats a bit; rises with ``slope``.

        Between two steps the curve has the slope of the chord, in the middle. Steps above the lower convex hull are
        passed over; beyond the outermost chords nats are quadratic in the step.
        """
        corners = self._hull()
        if len(corners) == 1:
            return max(self.least, float(self.first + corners[0]))
        middles = [self.first + (i + j) / 2 for i, j in zip(corners[:-1], corners[1:], strict=True)]
        slopes = [self._slope(i, j) for i, j in zip(corners[:-1], corners[1:], strict=True)]
        place = sum(each < slope for each in slopes)
        if place == 0:
            found = middles[0] + (slope - slopes[0]) / 2
        elif place == len(slopes):
            found = middles[-1] + (slope - slopes[-1]) / 2
        else:
            share = (slope - slopes[place - 1]) / (slopes[place] - slopes[place - 1])
            found = middles[place - 1] + share * (middles[place] - middles[place - 1])
        finest, coarsest = (max(self.least, float(self.first + corner)) for corner in (corners[0], corners[-1]))
        return min(max(found, finest), coarsest)

    def bits_at(self, octaves: float) -> float:
        """Bits of the matrix at such a step."""
        return _slopes_between(self.bits, octaves - self.first)

    def nats_at(self, octaves: float) -> float:
        """By how much the loss rises at such a step."""
        logs = [math.log2(max(nats, 1e-300)) for nats in self.nats]
        return float(2.0 ** _slopes_between(logs, octaves - self.first))

    def _slope(self, fine: int, coarse: int) -> float:
        return math.log2(self.nats[coarse] - self.nats[fine]) - math.log2(self.bits[fine] - self.bits[coarse])

    def _hull(self) -> list[int]:
        """Places of the steps that some slope would choose, from fine to coarse."""
        # a step that saves no bits, or loses no nats, settles which of the two is worse
        places: list[int] = []
        for place in range(len(self.bits)):
            while places and self.nats[places[-1]] >= self.nats[place]:
                places.pop()
            if not places or self.bits[place] < self.bits[places[-1]]:
                while len(places) > 1 and self._slope(places[-2], places[-1]) >= self._slope(places[-1], place):
                    places.pop()
                places.append(place)
        return places


def _slopes_between(values: Sequence[float], place: float) -> float:
    """Linear between neighbours, and on along the line of the outermost two."""
    below = min(max(math.floor(place), 0), len(values) - 2)
    return values[below] + (values[below + 1] - values[below]) * (place - below)


def allocation(curves: Sequence[Curve], slope: float) -> dict[str, float]:
    """What each matrix's steps are multiplied by, at one slope for all (binary logarithm of nats a bit)."""
    return {curve.name: float(2.0 ** curve.octaves_at(slope)) for curve in curves}


def allocated_bits(curves: Sequence[Curve], slope: float) -> float:
    """Bits of all matrices together at that slope; falls with it."""
    return sum(curve.bits_at(curve.octaves_at(slope)) for curve in curves)


def fitting_slope(
    curves: Sequence[Curve], size: Callable[[float], int], target_bytes: int, tolerance_bytes: int
) -> float:
    """The slope whose true ``size`` is at most the target, and by no more than the tolerance below it.

    Bisection, but each try is where the curves have the middle of that range, were they as far from the truth as at
    the try before; halfway where that leads out of what is known. More is left unused only if all steps are as fine as
    they may be, or sizes jump. ``GateError`` if not even the coarsest steps fit.
    """
    low, high = -_SLOPES_ALL, _SLOPES_ALL
    most, least = allocated_bits(curves, low), allocated_bits(curves, high)
    best: tuple[int, float] | None = None
    excess = 0.0
    for _ in range(_SLOPES_TRIES):
        slope = _slopes_of_bytes(curves, target_bytes - tolerance_bytes / 2 - excess)
        if not low < slope < high:
            slope = (low + high) / 2
        found, bits = size(slope), allocated_bits(curves, slope)
        if found <= target_bytes:
            best, high = max(best or (found, slope), (found, slope)), slope
            if found >= target_bytes - tolerance_bytes or bits >= most - 1:
                break
        else:
            low = slope
            if bits <= least + 1:
                raise GateError(f"artifact must have at most {target_bytes} bytes, got {found} at the coarsest steps")
        excess = found - bits / 8
    if best is None:
        raise GateError(f"artifact must have at most {target_bytes} bytes, got more at {_SLOPES_TRIES} slopes")
    return best[1]


def _slopes_of_bytes(curves: Sequence[Curve], wanted: float) -> float:
    """Where the curves have so many bytes, or the nearest end of what they may have."""
    low, high = -_SLOPES_ALL, _SLOPES_ALL
    for _ in range(40):
        middle = (low + high) / 2
        if allocated_bits(curves, middle) / 8 > wanted:
            low = middle
        else:
            high = middle
    return high


# ---- fairway.quant.rates ---------------------------------------------------------------------------------------------
# Bytes to where the loss feels them most: steps of all matrices by one Lagrangian.


_RATES_OCTAVES = range(-3, 6)
"""Steps at which rates and losses are measured, as powers of two times those of the roles' grids."""
_RATES_LEAST_CLIP = 5.0
"""Standard deviations of a row at which a grid may clip; a finer step would clip more."""
_RATES_BITS = 8
_RATES_TRELLIS_LOSS = 0.76
"""Error along paths over that of scalar steps of equal rate: 0.72 to 0.80 in the roles of trained pocket models."""


def rounded_to_fit(
    model: Gpt,
    hessians: Mapping[str, Tensor],
    quant: QuantSpec,
    rates: Lagrangian,
    extra: Mapping[str, Any],
    events: EventLog | None = None,
    rounds: Rounder | None = None,
    ranks: Ranks | None = None,
) -> QuantizedModel:
    """What ``rotate_gptq`` gives at the steps that fill the recipe's file; ``extra`` is what the artifact will carry.

    ``hessians`` holds row sensitivities, too. Where ``ranks`` round together, all go by the first one's curves: by
    their own, of which a last bit may differ, they might not round equally often. Events ``rates_try`` tell each slope
    and its artifact's true size, ``rate`` what a matrix was allotted. ``GateError`` as for ``rotate_gptq``, if no steps
    fit, or if a sensitivity is missing.
    """
    state = {name: tensor.detach().cpu() for name, tensor in unbank(model.state_dict(), model.spec).items()}
    treatments = [
        t
        for t in plan({name: tensor.shape for name, tensor in state.items()}, quant)
        if isinstance(t.grid, Grid | TrellisGrid)
    ]
    check_hessians(hessians, {t.name: t.shape[1] for t in treatments})
    sensitivity = {t.name: row_sensitivity(t.name, hessians) for t in treatments}
    turns = rotations({name: tensor.shape for name, tensor in state.items()}, quant.rotation)
    weights, moments = rates_baked(treatments, state, hessians, turns)
    curves = measured_curves(treatments, weights, moments, sensitivity, quant, rounds, ranks)

    tried: dict[float, dict[str, Both]] = {}

    def size(slope: float) -> int:
        scaled = rated(treatments, allocation(curves, slope))
        tried[slope] = round_rated(scaled, weights, moments, quant, rounds)
        found = len(pack(rotate_gptq(model, hessians, quant, None, lambda *_: tried[slope]), quant, extra))
        if events is not None:
            events.emit("rates_try", nats_a_byte=8 * 2.0**slope, artifact_bytes=found)
        return found

    slope = fitting_slope(curves, size, rates.target_bytes, rates.tolerance_bytes)
    chosen = tried[slope]
    if turns:
        # for the log alone, so not at every try
        plain = round_rated(rated(treatments, allocation(curves, slope)), state, hessians, quant, rounds)
        chosen = {name: (plain[name][0], rounded) for name, (_, rounded) in chosen.items()}
    if events is not None:
        _rates_tell(events, curves, treatments, sensitivity, slope, rates)
    return rotate_gptq(model, hessians, quant, events, lambda *_: chosen)


def _rates_tell(
    events: EventLog,
    curves: Sequence[Curve],
    treatments: Sequence[Treatment],
    sensitivity: Mapping[str, Tensor],
    slope: float,
    rates: Lagrangian,
) -> None:
    weights = {t.name: t.shape[0] * t.shape[1] for t in treatments}
    for curve in curves:
        octaves = curve.octaves_at(slope)
        events.emit(
            "rate",
            name=curve.name,
            factor=2.0**octaves,
            bits_a_weight=curve.bits_at(octaves) / weights[curve.name],
            sensitivity=float(sensitivity[curve.name].sum()),
            nats=curve.nats_at(octaves),
            nats_by_hand=curve.nats_at(0.0),
        )
    events.emit(
        "rates",
        target_bytes=rates.target_bytes,
        nats_a_byte=8 * 2.0**slope,
        nats=sum(curve.nats_at(curve.octaves_at(slope)) for curve in curves),
        nats_by_hand=sum(curve.nats_at(0.0) for curve in curves),
    )


def rated(treatments: Sequence[Treatment], factors: Mapping[str, float]) -> list[Treatment]:
    """The plan with steps so many times as wide."""
    found = []
    for t in treatments:
        assert isinstance(t.grid, Grid | TrellisGrid), t
        found.append(replace(t, grid=replace(t.grid, clip_sigmas=t.grid.clip_sigmas * factors[t.name])))
    return found


def round_rated(
    treatments: Sequence[Treatment],
    weights: Mapping[str, Tensor],
    moments: Mapping[str, Tensor],
    quant: QuantSpec,
    rounds: Rounder | None,
) -> dict[str, Both]:
    """Each matrix in the basis that it is given in, once, for both; by ``rounds`` where there is one."""
    if rounds is not None:
        return rounds(treatments, weights, moments, {}, quant)
    found = {}
    for t in treatments:
        assert t.grid is not None, t
        rounded = round_matrix(t.name, weights[t.name].float(), moments[t.name].float(), t.grid, quant)
        found[t.name] = rounded, rounded
    return found


def rates_baked(
    treatments: Sequence[Treatment],
    state: Mapping[str, Tensor],
    hessians: Mapping[str, Tensor],
    turns: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Matrices and their Hessians in the basis of the artifact, float32, on the CPU."""
    weights, moments = {}, {}
    for t in treatments:
        w_OI, h_II = state[t.name].float(), hessians[t.name].cpu().float()
        turn_II = turns.get(input_part(t.name) or "")
        if turn_II is not None:
            w_OI, h_II = bake(w_OI, turn_II), bake_hessian(h_II, turn_II)
        weights[t.name], moments[t.name] = w_OI, h_II
    return weights, moments


def measured_curves(
    treatments: Sequence[Treatment],
    weights: Mapping[str, Tensor],
    moments: Mapping[str, Tensor],
    sensitivity: Mapping[str, Tensor],
    quant: QuantSpec,
    rounds: Rounder | None = None,
    ranks: Ranks | None = None,
) -> list[Curve]:
    """Bits and nats of every matrix; bits are entropies of a matrix's own symbols (order 0)."""
    grids = {t.name: t.grid for t in treatments if isinstance(t.grid, Grid | TrellisGrid)}
    scalar = [replace(t, grid=scalar_grid(grids[t.name])) for t in treatments]
    bits_MS = torch.empty(len(grids), len(_RATES_OCTAVES), dtype=torch.float64)
    nats_MS = torch.empty_like(bits_MS)
    for place, octave in enumerate(_RATES_OCTAVES):
        found = round_rated(rated(scalar, dict.fromkeys(grids, 2.0**octave)), weights, moments, quant, rounds)
        for row, (name, grid) in enumerate(grids.items()):
            _, rounded = found[name]
            error_OI = weights[name] - decode(rounded.symbols, rounded.steps)
            lost_O = (error_OI @ moments[name] * error_OI).sum(1).double() / moments[name].double().trace()
            less = _RATES_TRELLIS_LOSS if isinstance(grid, TrellisGrid) else 1.0
            nats_MS[row, place] = (sensitivity[name] * lost_O).sum() * less
            bits_MS[row, place] = _rates_entropy(rounded.symbols)
    if ranks is not None:
        both_2MS = torch.stack([bits_MS, nats_MS]).to(ranks.device)
        ranks.broadcast_([both_2MS])
        bits_MS, nats_MS = both_2MS.cpu()
    return [
        Curve(name, _RATES_OCTAVES[0], bits, nats, math.log2(_RATES_LEAST_CLIP / grid.clip_sigmas))
        for (name, grid), bits, nats in zip(grids.items(), bits_MS.tolist(), nats_MS.tolist(), strict=True)
    ]


def row_sensitivity(name: str, measured: Mapping[str, Tensor]) -> Tensor:
    """Nats a row's loss is worth (``row_sensitivities``), in float64; ``GateError`` if it was not measured."""
    found = measured.get(f"{name}{ROW_SENSITIVITY_END}")
    if found is None:
        raise GateError(f"sensitivity of {name} is missing; calibrate this checkpoint again")
    return found.cpu().double()


def scalar_grid(grid: Grid | TrellisGrid) -> Grid:
    """Of the same rate, and so many bits that hardly a weight is clipped."""
    # of a trellis the even symbols, whose step is twice as wide
    step = grid.clip_sigmas / largest_symbol(grid.bits) * (2 if isinstance(grid, TrellisGrid) else 1)
    clip = step * largest_symbol(_RATES_BITS)
    return Grid(bits=_RATES_BITS, clip_sigmas=clip, scale_floor=grid.scale_floor)


def _rates_entropy(symbols: Tensor) -> float:
    """Bits that symbols take under their own frequencies."""
    counts = (symbols.flatten().long() + 128).bincount().double()
    counts = counts[counts > 0]
    return float((counts * (counts.sum() / counts).log2()).sum())


# ---- fairway.runtime.files -------------------------------------------------------------------------------------------
# A file is there whole or not at all; and what its bytes are called.


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


# ---- fairway.runtime.tensors -----------------------------------------------------------------------------------------
# Tensors to files and back; nothing that is read holds anything that runs.


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
            return {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, OSError) as error:
        raise DataError(f"{path}: not a whole safetensors file: {error}") from error


# ---- fairway.model.adapters ------------------------------------------------------------------------------------------
# Low-rank adapters of each document in a batch (recipes E.5; #77, #1530).


class LoraBank:
    """Adapters ``y + scale (x A^T) B^T`` at every slot's q, k, v, o and mlp and at the head, a pair for each document.

    ``A`` starts uniform in +-1/sqrt(inputs), ``B`` zero, so fresh adapters change nothing. Row ``b`` of a batch uses
    the adapters of document ``b``; a forward of fewer rows uses the first ones. Adapters are float32.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        documents: int,
        rank: int,
        looped: bool,
        alpha: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.scale = 1.0 if alpha is None else alpha / rank
        self.slots = schedule(spec, looped).slots
        outputs = {"q": spec.width, "k": spec.kv_width, "v": spec.kv_width, "o": spec.width, "mlp": spec.width}
        widths = {
            Site(slot, layer, part): outputs[part] for slot, layer in enumerate(self.slots) for part in ADAPTED_PARTS
        }
        widths[HEAD] = spec.vocab_size
        self._inputs = spec.width
        self._a_flat = torch.zeros(documents * rank * spec.width * len(widths), device=device)
        self._b_flat = torch.zeros(documents * rank * sum(widths.values()), device=device)
        a_parts = self._a_flat.chunk(len(widths))
        b_parts = self._b_flat.split([documents * rank * width for width in widths.values()])
        self.a_BRI: dict[Site, Tensor] = {}
        self.b_BOR: dict[Site, Tensor] = {}
        for (site, width), a, b in zip(widths.items(), a_parts, b_parts, strict=True):
            # Leaves over shared storage: a reset is two kernels, yet each gradient is written where it is made.
            self.a_BRI[site] = a.view(documents, rank, spec.width).detach().requires_grad_()
            self.b_BOR[site] = b.view(documents, width, rank).detach().requires_grad_()

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Fresh adapters: ``A`` drawn anew, ``B`` zero, gradients gone."""
        bound = self._inputs**-0.5
        self._a_flat.uniform_(-bound, bound, generator=generator)
        self._b_flat.zero_()
        for parameter in self.parameters():
            parameter.grad = None

    def parameters(self) -> list[Tensor]:
        """All ``A`` (documents, rank, inputs) by site, then all ``B`` (documents, outputs, rank) in the same order."""
        return [*self.a_BRI.values(), *self.b_BOR.values()]

    def lr_multipliers(self, slope: float) -> list[float]:
        """One for each of ``parameters()``: ``1 + slope * slot / (slots - 1)``; the head counts as 1 (#1695)."""
        last = max(len(self.slots) - 1, 1)
        by_site = [1.0 if site == HEAD else 1.0 + slope * site.slot / last for site in self.a_BRI]
        return by_site * 2

    def hooks(self) -> Hooks:
        """Hooks under which the forward is adapted; the same ones serve every forward."""
        return Hooks(adapt=self.adapt)

    def adapt(self, site: Site, x: Tensor, y: Tensor) -> Tensor:
        """``y`` plus what the adapters of ``site`` make of ``x``; rows are documents."""
        a, b = self.a_BRI[site], self.b_BOR[site]
        rows = x.shape[0]
        if rows != a.shape[0]:
            a, b = a[:rows], b[:rows]
        h = torch.bmm(x, a.to(x.dtype).mT)
        return torch.baddbmm(y, h, b.to(x.dtype).mT, alpha=self.scale)


# ---- fairway.score.windows -------------------------------------------------------------------------------------------
# Which targets are predicted from which inputs: pure functions of lengths, never of tokens.


class Span(NamedTuple):
    """Targets ``start..stop-1``, predicted from the inputs ``context..stop-2``."""

    context: int
    start: int
    stop: int

    @property
    def targets(self) -> int:
        """How many are scored; the last so many rows of the forward predict them."""
        return self.stop - self.start

    @property
    def inputs(self) -> int:
        """Length of the forward."""
        return self.stop - 1 - self.context


class Extent(NamedTuple):
    """Inputs ``begin..end-1`` of one document, hence targets ``begin+1..end``."""

    begin: int
    end: int

    @property
    def targets(self) -> int:
        """How many targets the document has: its length, or one less if it is the last."""
        return self.end - self.begin


def document_extents(lengths: Sequence[int]) -> list[Extent]:
    """One extent a document, from lengths in tokens, BOS included; together they hold each target once."""
    extents, begin, total = [], 0, sum(lengths)
    for length in lengths:
        extents.append(Extent(begin, min(begin + length, total - 1)))
        begin += length
    return extents


def document_rows(extent: Extent, context: int) -> Iterator[Span]:
    """Rows of ``context`` inputs that make up a document, each scored whole."""
    for begin in range(extent.begin, extent.end, context):
        yield Span(begin, begin + 1, min(begin + context, extent.end) + 1)


def document_chunks(extent: Extent, chunk: int, context: int) -> list[Span]:
    """Chunks of ``chunk`` targets that make up a document, each predicted from the last ``context`` inputs."""
    spans = []
    for begin in range(extent.begin, extent.end, chunk):
        end = min(begin + chunk, extent.end)
        spans.append(Span(max(extent.begin, end - context), begin + 1, end + 1))
    return spans


def grouped(spans: Sequence[Span], tokens: int) -> Iterator[tuple[Span, ...]]:
    """Consecutive spans whose inputs are at most ``tokens`` together; a longer span is a group of its own."""
    group: list[Span] = []
    held = 0
    for span in spans:
        if group and held + span.inputs > tokens:
            yield tuple(group)
            group, held = [], 0
        group.append(span)
        held += span.inputs
    if group:
        yield tuple(group)


def length_batches(extents: Sequence[Extent], batch_docs: int) -> list[tuple[int, ...]]:
    """Document indices in batches: sorted by length (ties by index), cut every ``batch_docs``, longest first.

    The cut starts at the shortest document, so the batch that is not full holds the longest ones and comes first
    (recipes E.5). Inside a batch the longest comes first too: documents then end from the batch's tail, and those
    that go on are always its head. Documents without a target are left out.
    """
    order = sorted((i for i, extent in enumerate(extents) if extent.targets), key=lambda i: (extents[i].targets, i))
    cuts = [order[i : i + batch_docs] for i in range(0, len(order), batch_docs)]
    return [tuple(reversed(cut)) for cut in reversed(cuts)]


# ---- fairway.score.steps ---------------------------------------------------------------------------------------------
# What a method of evaluation says beforehand that it will do: score these spans, learn from those.


@dataclass(frozen=True, slots=True)
class ScoreStep:
    """Predict and score these spans, in this order, from one state of the method."""

    spans: tuple[Span, ...]
    chunk: int = 0
    """Which chunk of its documents this is; 0 begins a new batch of documents."""
    batch: int = 0
    """Which batch of documents, counted over the whole plan."""
    learns: int = 0
    """The ``LearnStep`` that follows at once learns from the first so many spans; their forward graph is kept."""


@dataclass(frozen=True, slots=True)
class LearnStep:
    """Take one optimizer step on targets ``start..stop-1`` of each span, all of them scored before."""

    what: Literal["lora", "sgd"]
    spans: tuple[tuple[int, int], ...]
    step: int = 0
    """Which step of this pass, from 0."""
    steps: int = 1
    """What the pass counts its rate over."""


PlanStep = ScoreStep | LearnStep


# ---- fairway.spec.score ----------------------------------------------------------------------------------------------
# Context and method of evaluation (recipes E).


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """Each document in rows of ``context`` tokens, each row scored whole."""

    kind: Literal["flat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLora:
    """Low-rank adapters of their own for each document, one step after each scored chunk (#77, #1530)."""

    kind: Literal["lora"]
    rank: int
    alpha: float | None
    """Adapter output is scaled by alpha/rank; absent means 1 (#1530)."""
    chunk: int
    batch_docs: int
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    optimizer: Literal["adamw", "adam"]
    """``adam`` adds the decay to the gradient, as #1695's phased path did without meaning to."""
    b_lr_ratio: float
    """Rate of ``B`` over that of ``A`` (LoRA+, arXiv 2402.12354)."""
    keep_a: bool
    """A new batch of documents begins with the ``A`` that the last one of the same process ended with (#1767).

    After a pause of ``PhasedSgd`` it is drawn anew. Where ranks share the work, batches are dealt out to them
    beforehand, so that what is carried on depends on how many they are and on nothing else.
    """
    slot_lr_slope: float
    """Rate of slot i is multiplied by 1 + slope * i / (slots - 1) (#1695: 0.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasedSgd:
    """Document adapters, and after each phase of the prefix an SGD pass of the base over what was scored (#1610)."""

    kind: Literal["phased"]
    lora: DocumentLora
    prefix_docs: int
    phases: int
    lr: float
    momentum: float
    chunk_tokens: int
    context: int
    grad_clip: float


Method = Flat | DocumentLora | PhasedSgd


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSpec:
    """How the artifact is scored, and within which seconds."""

    context: int
    batch_tokens: int
    """Tokens of one forward of the flat and sliding methods."""
    method: Method
    diagnostic: Flat
    """Scores the float weights and the quantized ones before any adaptation."""
    budget_s: float
    """Seconds of one evaluation; when they are used up it ends without a score."""
    ranks: Literal["first", "all"]
    """Who scores: the first process alone, or all of them, each taking batches of documents as it gets free (#1530)."""


# ---- fairway.score.adapt ---------------------------------------------------------------------------------------------
# Low-rank adapters of each document's own, one optimizer step after each scored chunk (recipes E.5; #77, #1530).


def lora_steps(
    extents: Sequence[Extent], batch: Sequence[int], *, number: int, chunk: int, context: int
) -> Iterator[PlanStep]:
    """One batch of documents, longest first: score a chunk of each, learn from it where the document goes on."""
    documents = [document_chunks(extents[i], chunk, context) for i in batch]
    chunks = len(documents[0])
    for index in range(chunks):
        spans = tuple(spans[index] for spans in documents if index < len(spans))
        learns = sum(index + 1 < len(spans) for spans in documents)
        yield ScoreStep(spans, chunk=index, batch=number, learns=learns)
        if learns:
            yield LearnStep("lora", tuple((span.start, span.stop) for span in spans[:learns]), index, chunks)


class LoraEvaluator:
    """Adapters beside frozen weights, drawn anew for each batch of documents.

    Batches of one plan may come in any order and to several processes: what is drawn depends on a batch's number
    alone. ``model`` must not ask for gradients.
    """

    def __init__(self, model: Gpt, spec: DocumentLora, *, context: int, looped: bool, seed: int) -> None:
        self._model = model
        self._spec = spec
        self._context = context
        self._looped = looped
        self._seed = seed
        self._bank: LoraBank | None = None
        self._whole: LoraBank | None = None
        self._optimizer: LoraAdamW | None = None
        self._raw_logits_BCV: Tensor | None = None

    def plan(self, lengths: Sequence[int]) -> Iterator[PlanStep]:
        """Batches of documents of like length, the longest first, each in chunks."""
        extents = document_extents(lengths)
        for number, batch in enumerate(length_batches(extents, self._spec.batch_docs)):
            yield from self.batch_steps(extents, batch, number)

    def batch_steps(self, extents: Sequence[Extent], batch: Sequence[int], number: int) -> Iterator[PlanStep]:
        """``lora_steps`` with this method's chunks."""
        return lora_steps(extents, batch, number=number, chunk=self._spec.chunk, context=self._context)

    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Logits of each document's chunk, under its adapters."""
        if step.chunk == 0:
            self._begin_batch(step.batch, len(step.spans))
        assert self._bank is not None and self._optimizer is not None
        going, ending = step.spans[: step.learns], step.spans[step.learns :]
        logits: list[Tensor] = []
        leaving = self._bank
        if going and ending:
            leaving = _bank_part(self._bank, slice(len(going), len(step.spans)))
            self._bank = _bank_part(self._bank, slice(0, len(going)))
            self._optimizer.keep(len(going))
        if going:
            raw_logits_BCV = chunk_logits(
                self._model, going, inputs[: len(going)], looped=self._looped, hooks=self._bank.hooks()
            )
            self._raw_logits_BCV = raw_logits_BCV
            logits += softcap(raw_logits_BCV.detach(), self._model.spec.softcap).unbind()
        if ending:
            with torch.no_grad():
                raw_logits_BCV = chunk_logits(
                    self._model, ending, inputs[len(going) :], looped=self._looped, hooks=leaving.hooks()
                )
                capped_BCV = softcap(raw_logits_BCV, self._model.spec.softcap)
            logits += [row_CV[: span.targets] for row_CV, span in zip(capped_BCV, ending, strict=True)]
        return logits

    def update(
        self, step: LearnStep, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> None:
        """Step each document's adapters on the mean loss of its chunk; the graph is the one that predicted it."""
        raw_logits_BCV, self._raw_logits_BCV = self._raw_logits_BCV, None
        assert raw_logits_BCV is not None and self._bank is not None and self._optimizer is not None
        targets_BC = torch.stack(list(targets))
        losses = softcap_ce(raw_logits_BCV.flatten(0, 1), targets_BC.flatten(), self._model.spec.softcap)
        parameters = self._bank.parameters()
        # A sum over documents of means over chunks: no document's step depends on another's.
        gradients = torch.autograd.grad(losses.sum() / targets_BC.shape[1], parameters)
        self._optimizer.step(parameters, gradients)

    def _begin_batch(self, number: int, documents: int) -> None:
        spec, device = self._spec, self._model.get_parameter("embedding").device
        self._bank = self._optimizer = None  # lets go of the last batch's memory first
        last, self._whole = self._whole, None
        self._bank = LoraBank(
            self._model.spec,
            documents=documents,
            rank=spec.rank,
            looped=self._looped,
            alpha=spec.alpha,
            device=device,
        )
        self._bank.reset(generator(self._seed, f"lora.{number}", device))
        self._optimizer = LoraAdamW(
            self._bank.parameters(), [spec.lr * scale for scale in self._bank.lr_multipliers(spec.slot_lr_slope)], spec
        )


def chunk_logits(
    model: Gpt, spans: Sequence[Span], inputs: Sequence[Tensor], *, looped: bool, hooks: Hooks
) -> Tensor:
    """Raw logits of the last ``span.targets`` inputs of each row; shorter chunks are padded at their end."""
    tokens_BT = pad_sequence(list(inputs), batch_first=True)
    hidden_BTD = model.hidden(tokens_BT, looped=looped, hooks=hooks)
    longest = max(span.targets for span in spans)
    if len({(span.inputs, span.targets) for span in spans}) == 1:
        hidden_BCD = hidden_BTD[:, -longest:]
    else:
        first_B = torch.tensor([span.inputs - span.targets for span in spans], device=tokens_BT.device)
        rows_BC = first_B[:, None] + torch.arange(longest, device=tokens_BT.device)
        rows_BC = rows_BC.clamp_max(tokens_BT.shape[1] - 1)
        hidden_BCD = hidden_BTD.take_along_dim(rows_BC[:, :, None], dim=1)
    return model.raw_logits(hidden_BCD, hooks)


def _bank_part(bank: LoraBank, rows: slice) -> LoraBank:
    """Adapters of some of the documents: leaves of their own over the same storage, so gradients have their size."""
    part = copy.copy(bank)
    part.a_BRI = {site: a[rows].detach().requires_grad_() for site, a in bank.a_BRI.items()}
    part.b_BOR = {site: b[rows].detach().requires_grad_() for site, b in bank.b_BOR.items()}
    return part


class LoraAdamW:
    """AdamW (decoupled decay), or Adam (decay in the gradient), over tensors whose first axis is documents.

    Documents of a batch begin together and only ever leave, so one count of steps is each document's own. With
    ``beta1 = 0`` the first moment is the gradient and is not stored.
    """

    def __init__(self, parameters: Sequence[Tensor], rates: Sequence[float], spec: DocumentLora) -> None:
        self._rates = list(rates)
        self._spec = spec
        self._steps = 0
        self._second = [torch.zeros_like(parameter, requires_grad=False) for parameter in parameters]
        self._first = None

    def keep(self, documents: int) -> None:
        """Forget all but the first so many documents."""
        self._second = [second[:documents] for second in self._second]
        if self._first is not None:
            self._first = [first[:documents] for first in self._first]

    @torch.no_grad()
    def step(self, parameters: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
        """Move each parameter, in place; a GPU gets a launch or two for all of them where it got seven for each."""
        spec = self._spec
        self._steps += 1
        unbiased_first = 1.0 - spec.beta1**self._steps
        unbiased_second = math.sqrt(1.0 - spec.beta2**self._steps)
        moved, slopes, second = list(parameters), list(gradients), self._second
        torch._foreach_mul_(second, spec.beta2)
        torch._foreach_addcmul_(second, slopes, slopes, value=1.0 - spec.beta2)
        first = slopes
        if self._first is not None:
            torch._foreach_lerp_(self._first, slopes, 1.0 - spec.beta1)
            first = self._first
        scales = torch._foreach_sqrt(second)
        torch._foreach_div_(scales, unbiased_second)
        torch._foreach_add_(scales, spec.eps)
        torch._foreach_mul_(moved, [1.0 - rate * spec.weight_decay for rate in self._rates])
        torch._foreach_addcdiv_(moved, first, scales, [-rate / unbiased_first for rate in self._rates])


# ---- fairway.score.bpb -----------------------------------------------------------------------------------------------
# Float64 sums of nats, bytes and tokens, and the two numbers that are quoted from them (recipes A.4).


class Tally:
    """What has been scored so far.

    The nats of each span are kept and summed exactly (``math.fsum``), so that the total does not depend on how
    spans were grouped into forwards and can be recomputed from a ledger to the last bit.
    """

    def __init__(self) -> None:
        self._nats: list[float] = []
        self.tokens = 0
        self.size_bytes = 0

    def add(self, *, nats: float, tokens: int, size_bytes: int) -> None:
        """Count one span: its summed loss, its targets, the bytes of text these stand for."""
        self._nats.append(nats)
        self.tokens += tokens
        self.size_bytes += size_bytes

    @property
    def nats(self) -> float:
        """Summed loss."""
        return math.fsum(self._nats)

    @property
    def loss_nats(self) -> float:
        """Mean loss of a target."""
        return self.nats / self.tokens

    @property
    def bpb(self) -> float:
        """Bits per byte of text; targets without bytes (BOS) still cost their nats."""
        return self.nats / math.log(2.0) / self.size_bytes


# ---- fairway.score.budget --------------------------------------------------------------------------------------------
# The seconds of one evaluation against its budget: how far it is, a forecast early on, and its end when they are gone.


PROGRESS_EVENTS = 50
"""At most so many ``scored`` events an evaluation."""
FORECASTS = (50, 5)
"""A forecast is made when one part in so many of the work is done."""
LEARNING = 3
"""Forward and backward together cost about so many forwards."""


def work(step: PlanStep) -> int:
    """Inputs that go through the model for a step, those that are learned from counted ``LEARNING`` times."""
    if isinstance(step, ScoreStep):
        inputs = [span.inputs for span in step.spans]
        return sum(inputs) + (LEARNING - 1) * sum(inputs[: step.learns])
    return LEARNING * sum(stop - start for start, stop in step.spans) if step.what == "sgd" else 0


class Watch:
    """One evaluation's clock, which each of ``world`` processes looks at for itself; it runs from the beginning."""

    def __init__(
        self,
        budget_s: float,
        events: EventLog,
        *,
        world: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._budget_s = budget_s
        self._events = events
        self._world = world
        self._clock = clock
        self._began_s = clock()
        self._targets = self._work = 0
        self._done = 0
        self._due = 1
        self._forecasts = list(FORECASTS)

    @property
    def seconds(self) -> float:
        """Since the evaluation began."""
        return self._clock() - self._began_s

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.seconds > self._budget_s

    def begin(self, steps: Sequence[PlanStep], targets: int) -> None:
        """What there is to do."""
        self._work, self._targets = sum(map(work, steps)), targets

    def took(self, step: PlanStep, *, together: bool = False) -> None:
        """A step is done, by this process or by all together; now and then a forecast of the whole comes of it."""
        self._done += work(step) * (1 if together else self._world)
        if self._forecasts and self._done * self._forecasts[0] >= self._work:
            self._forecasts.pop(0)
            forecast_s = self.seconds * self._work / self._done
            fits = forecast_s <= self._budget_s
            self._events.emit("forecast", seconds=forecast_s, budget_s=self._budget_s, fits=fits)

    def scored(self, tally: Tally) -> None:
        """So much stands on the ledger."""
        if tally.tokens * PROGRESS_EVENTS >= self._due * self._targets and tally.size_bytes:
            self._due = tally.tokens * PROGRESS_EVENTS // self._targets + 1
            self._events.emit("scored", targets=tally.tokens, of=self._targets, bpb=tally.bpb)

    def stop(self, tally: Tally) -> NoReturn:
        """Say how far it came, and end it: ``GateError``."""
        seconds = self.seconds
        self._events.emit("stopped", targets=tally.tokens, of=self._targets, seconds=seconds, budget_s=self._budget_s)
        raise GateError(
            f"score.budget_s ({self._budget_s:g}) is used up after {seconds:.1f} s with {tally.tokens} of"
            f" {self._targets} targets scored: a part of them is no score, so none is written"
        )


# ---- fairway.score.flat ----------------------------------------------------------------------------------------------
# Each document in rows of ``context`` tokens, each row scored whole: the plain score of fixed weights.


def segment_offsets(pieces: Sequence[Tensor]) -> Tensor:
    """Where each piece begins when all are laid end to end, and the total: ``cu_seqlens`` (int32)."""
    lengths = torch.tensor([0, *(piece.numel() for piece in pieces)])
    return lengths.cumsum(0).to(pieces[0].device, torch.int32)


class FlatEvaluator:
    """Rows of documents, packed into forwards of up to ``batch_tokens`` tokens; no document sees another."""

    def __init__(self, model: Gpt, *, context: int, batch_tokens: int, looped: bool) -> None:
        self._model = model
        self._context = context
        self._batch_tokens = batch_tokens
        self._looped = looped

    def plan(self, lengths: Sequence[int]) -> Iterator[ScoreStep]:
        """Rows in the order of the stream."""
        rows = list(chain.from_iterable(document_rows(each, self._context) for each in document_extents(lengths)))
        return (ScoreStep(group) for group in grouped(rows, self._batch_tokens))

    @torch.no_grad()
    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Logits of every input."""
        hidden_1ND = self._model.hidden(
            torch.cat(list(inputs)).unsqueeze(0),
            looped=self._looped,
            cu_seqlens=segment_offsets(inputs),
            max_len=max(each.numel() for each in inputs),
        )
        logits_NV = softcap(self._model.raw_logits(hidden_1ND[0]), self._model.spec.softcap)
        return logits_NV.split([each.numel() for each in inputs])

    def update(
        self, step: LearnStep, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> None:
        """Never called: the plan learns nothing."""
        raise AssertionError("the flat method learns nothing")


# ---- fairway.score.sgd -----------------------------------------------------------------------------------------------
# SGD with momentum on the weights that all documents share, over targets that are scored (recipes E.3, E.6).


def cosine_rate(step: int, steps: int) -> float:
    """Share of the rate at one of ``steps`` steps: from 1 to 0, and 1 if there is but one."""
    return 0.5 * (1.0 + math.cos(math.pi * step / (steps - 1))) if steps > 1 else 1.0


class BaseSgd:
    """Steps of one optimizer over every parameter of ``model``, and over ``more`` tensors that a method added to it.

    One forward holds at most ``batch_tokens`` tokens (or one span); a step's gradient is gathered over its forwards.
    """

    def __init__(
        self,
        model: Gpt,
        *,
        lr: float,
        momentum: float,
        grad_clip: float,
        batch_tokens: int,
        looped: bool,
        more: Sequence[Tensor] = (),
        hooks: Hooks = PLAIN,
    ) -> None:
        self._model = model
        self._lr = lr
        self._momentum = momentum
        self._grad_clip = grad_clip
        self._batch_tokens = batch_tokens
        self._looped = looped
        self._hooks = hooks
        self._learned = [*model.parameters(), *more]
        self._optimizer: torch.optim.Optimizer | None = None

    def step(self, share: float, inputs: Sequence[Tensor], targets: Sequence[Tensor]) -> None:
        """One step at ``share`` of the rate on the mean loss of all targets; pieces do not see each other."""
        if self._optimizer is None:
            for parameter in self._learned:
                parameter.requires_grad_(True)
            self._optimizer = torch.optim.SGD(self._learned, lr=self._lr, momentum=self._momentum)
        total = sum(each.numel() for each in targets)
        for part in self._forwards(inputs, total):
            hidden_1ND = self._model.hidden(
                torch.cat(list(inputs[part])).unsqueeze(0),
                looped=self._looped,
                cu_seqlens=segment_offsets(inputs[part]),
                max_len=max(each.numel() for each in inputs[part]),
                hooks=self._hooks,
            )
            losses = softcap_ce(
                self._model.raw_logits(hidden_1ND[0]), torch.cat(list(targets[part])), self._model.spec.softcap
            )
            (losses.sum() / total).backward()
        self._gather()
        torch.nn.utils.clip_grad_norm_(self._learned, self._grad_clip)
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr * share
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def rest(self) -> None:
        """Freeze the weights and forget the momentum."""
        for parameter in self._learned:
            parameter.requires_grad_(False)
        self._optimizer = None

    def _forwards(self, inputs: Sequence[Tensor], total: int) -> Sequence[slice]:
        """The pieces of each forward of a step of ``total`` targets."""
        return list(parts(inputs, self._batch_tokens))

    def _gather(self) -> None:
        """The step's gradient is whole when this returns."""


def parts(pieces: Sequence[Tensor], tokens: int) -> Iterator[slice]:
    """Consecutive pieces of at most ``tokens`` elements together; a longer piece is a part of its own."""
    first = held = 0
    for i, piece in enumerate(pieces):
        if i > first and held + piece.numel() > tokens:
            yield slice(first, i)
            first, held = i, 0
        held += piece.numel()
    yield slice(first, len(pieces))


# ---- fairway.score.ledger --------------------------------------------------------------------------------------------
# What an evaluation scored and learned from, in order, as JSON lines chained by their hashes.


FIRST_PREV = "0" * 64


def canonical_json(value: object) -> str:
    """One spelling of a value, the one that is hashed: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plan_line(kind: str, spans: Sequence[Sequence[int]], what: str | None = None) -> str:
    """One step of a plan as it is hashed: canonical JSON of what its ledger entry will say, and a line feed.

    ``plan_sha256`` is SHA-256 over these lines: ``{"kind":"score","spans":[[context,start,stop],...]}`` and
    ``{"kind":"learn","spans":[[start,stop],...],"what":...}``.
    """
    entry: dict[str, object] = {"kind": kind, "spans": [list(span) for span in spans]}
    if what is not None:
        entry["what"] = what
    return canonical_json(entry) + "\n"


def _raw_bytes(values: Tensor) -> bytes:
    assert sys.byteorder == "little", "digests are of little-endian numbers"
    raw: bytes = values.cpu().contiguous().numpy().tobytes()
    return raw


def tokens_sha256(tokens_N: Tensor) -> str:
    """SHA-256 of token ids as uint16, little-endian: the payload of the official shards, without headers."""
    return hashlib.sha256(_raw_bytes(tokens_N.to(torch.uint16))).hexdigest()


def losses_sha256(losses_N: Tensor) -> str:
    """SHA-256 of losses as float32, little-endian."""
    return hashlib.sha256(_raw_bytes(losses_N.to(torch.float32))).hexdigest()


class Ledger(LineFile):
    """Appends entries to ``path.part``; the file gets its name when the block ends without an exception.

    With ``path`` None nothing is written; the chain and its ``head`` are the same.
    """

    def __init__(self, path: Path | None) -> None:
        super().__init__(path)
        self.head = FIRST_PREV
        self._entries = 0

    def append(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Add one entry to the chain; ``DataError`` if the disk refuses."""
        entry = {"i": self._entries, "kind": kind, "prev": self.head, **fields}
        self.head = hashlib.sha256(canonical_json(entry).encode()).hexdigest()
        self._entries += 1
        self.write_line(canonical_json({**entry, "hash": self.head}))


# ---- fairway.score.referee -------------------------------------------------------------------------------------------
# The referee owns the tokens: it checks the plan, asks for predictions, scores, and only then shows targets.


@runtime_checkable
class Evaluator(Protocol):
    """A method of evaluation: predicts when asked, learns when shown, holds no tokens."""

    def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
        """Everything that will be scored and learned from, in order: a function of document lengths alone."""
        ...

    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Logits of each span's targets, ``(span.targets, V)``, from its inputs ``tokens[context:stop-1]``."""
        ...

    def update(
        self, step: LearnStep, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> None:
        """Learn from targets ``tokens[start:stop]`` and their inputs ``tokens[start-1:stop-1]``, all on the ledger."""
        ...


def plan_sha256(steps: Iterable[PlanStep]) -> str:
    """SHA-256 of a plan, which the ledger's entries determine as well (``ledger.plan_line``)."""
    digest = hashlib.sha256()
    for step in steps:
        if isinstance(step, ScoreStep):
            digest.update(plan_line("score", step.spans).encode())
        else:
            digest.update(plan_line("learn", step.spans, step.what).encode())
    return digest.hexdigest()


def check_plan(steps: Sequence[PlanStep], lengths: Sequence[int]) -> None:
    """Refuse, with ``RefereeError``, a plan that could be scored unfairly.

    Each target is scored exactly once; each input of a span is a document's BOS, or was scored before, or is a target
    of this same span; each learned target was scored in an earlier step.
    """
    total = sum(lengths)
    scored = bytearray(total)
    known = bytearray(total)
    for extent in document_extents(lengths):
        known[extent.begin] = 1
    for number, step in enumerate(steps):
        where = f"plan step {number}"
        if not step.spans:
            raise RefereeError(f"{where}: has no span, each step scores or learns from at least one target")
        if isinstance(step, ScoreStep):
            for span in step.spans:
                _check_span(span, scored, known, where)
                scored[span.start : span.stop] = known[span.start : span.stop] = b"\1" * span.targets
        else:
            for start, stop in step.spans:
                if not 1 <= start < stop <= total:
                    raise RefereeError(f"{where}: learns from targets {start}..{stop - 1}, must lie in 1..{total - 1}")
                early = scored.find(b"\0", start, stop)
                if early >= 0:
                    raise RefereeError(f"{where}: learns from target {early} before it is scored")
                if not known[start - 1]:
                    raise RefereeError(f"{where}: learns with input {start - 1}, which was not scored before")
    missing = scored.find(b"\0", 1)
    if missing >= 0:
        raise RefereeError(f"plan: target {missing} is never scored, each of 1..{total - 1} must be, once")


def _check_span(span: Span, scored: bytearray, known: bytearray, where: str) -> None:
    context, start, stop = span
    if not 0 <= context < start < stop <= len(scored):
        raise RefereeError(
            f"{where}: span {tuple(span)} must hold 0 <= context < start < stop <= {len(scored)} (the stream's length)"
        )
    twice = scored.find(b"\1", start, stop)
    if twice >= 0:
        raise RefereeError(f"{where}: target {twice} is scored twice")
    unseen = known.find(b"\0", context, start)
    if unseen >= 0:
        raise RefereeError(f"{where}: span {tuple(span)} reads input {unseen}, which was not scored before")


class Referee:
    """Scores one evaluation of a stream of documents.

    ``bytes_N`` are the bytes of text that each position stands for as a target; ``lengths`` the documents' lengths in
    tokens, BOS included. ``DataError`` if these do not fit together.
    """

    def __init__(self, tokens_N: Tensor, bytes_N: Tensor, lengths: Sequence[int]) -> None:
        if sum(lengths) != tokens_N.numel() or min(lengths, default=0) < 1 or tokens_N.numel() < 2:
            raise DataError(
                f"documents of {sum(lengths)} tokens in all, the stream has {tokens_N.numel()};"
                " these must be equal, no document empty, and the stream at least 2 tokens long"
            )
        if int(bytes_N[1:].sum()) < 1:
            raise DataError("the targets stand for 0 bytes of text, bits per byte need at least 1")
        self._tokens_N = tokens_N.to(torch.int64)
        self._bytes_N = bytes_N.to("cpu", torch.int64)
        self._largest = int(tokens_N.max())
        self._lengths = tuple(lengths)

    @property
    def targets(self) -> int:
        """How many tokens are scored: all but the first."""
        return self._tokens_N.numel() - 1

    def run(
        self,
        method: Evaluator,
        ledger: Ledger,
        *,
        settings: dict[str, Any],
        artifact_sha256: str,
        watch: Watch,
    ) -> Tally:
        """Drive ``method`` through its plan and write the ledger; ``watch`` is told of each step, and ends it in time.

        ``settings`` describe the method on the ledger. ``RefereeError`` if the plan is unfair, if logits have the wrong
        shape or are not finite, or if the plan turns out to depend on anything but lengths.
        """
        steps = tuple(method.plan(self._lengths))
        check_plan(steps, self._lengths)
        ledger.append(
            "open",
            {
                "artifact_sha256": artifact_sha256,
                "tokens_sha256": tokens_sha256(self._tokens_N),
                "documents": len(self._lengths),
                "targets": self.targets,
                "method": settings,
                "plan_sha256": plan_sha256(steps),
            },
        )
        watch.begin(steps, self.targets)
        tally = Tally()
        self._drive(steps, method, ledger, tally, watch)
        if tuple(method.plan(self._lengths)) != steps:
            raise RefereeError("plan: a second call for the same document lengths gave another plan")
        assert tally.tokens == self.targets, "a checked plan scores every target"
        ledger.append("close", {"targets": tally.tokens, "bytes": tally.size_bytes, "nats": tally.nats})
        return tally

    def _drive(self, steps: Sequence[PlanStep], method: Evaluator, ledger: Ledger, tally: Tally, watch: Watch) -> None:
        for number, step in enumerate(steps):
            if isinstance(step, ScoreStep):
                self._enter(number, step, self._ask(number, step, method).cpu(), ledger, tally)
                watch.scored(tally)
            else:
                self._enter_learned(step, ledger)
                self._show(step, method)
            watch.took(step)
            if watch.spent:
                watch.stop(tally)

    def _ask(self, number: int, step: ScoreStep, method: Evaluator) -> Tensor:
        """The method's prediction, scored: nats of each target of the step."""
        logits = method.predict(step, [self._tokens_N[span.context : span.stop - 1].clone() for span in step.spans])
        # Only from here on are targets looked up: whatever predict kept, it cannot have seen them.
        return self._losses(number, step.spans, logits)

    def _show(self, step: LearnStep, method: Evaluator) -> None:
        """Targets that stand on the ledger, for the method to learn from."""
        method.update(
            step,
            [self._tokens_N[start - 1 : stop - 1].clone() for start, stop in step.spans],
            [self._tokens_N[start:stop].clone() for start, stop in step.spans],
        )

    def _enter_learned(self, step: LearnStep, ledger: Ledger) -> None:
        ledger.append("learn", {"what": step.what, "spans": [list(span) for span in step.spans]})

    def _enter(self, number: int, step: ScoreStep, losses: Tensor, ledger: Ledger, tally: Tally) -> None:
        if not bool(losses.isfinite().all()):
            raise RefereeError(f"plan step {number}: a loss is not finite")
        rows = []
        for span, losses_M in zip(step.spans, losses.split([span.targets for span in step.spans]), strict=True):
            nats = math.fsum(losses_M.tolist())
            size_bytes = int(self._bytes_N[span.start : span.stop].sum())
            rows.append([*span, nats, size_bytes])
            tally.add(nats=nats, tokens=span.targets, size_bytes=size_bytes)
        ledger.append("score", {"spans": rows, "losses_sha256": losses_sha256(losses)})

    @torch.no_grad()
    def _losses(
        self, number: int, spans: Sequence[Span], logits: Sequence[Tensor]
    ) -> Tensor:
        """Nats of each target, in order, in float32: minus log softmax over the whole vocabulary."""
        shapes = [tuple(each.shape) for each in logits]
        vocab_size = shapes[0][-1] if shapes and shapes[0] else 0
        due = [(span.targets, vocab_size) for span in spans]
        if shapes != due:
            raise RefereeError(f"plan step {number}: logits have shapes {shapes}, must be {due}")
        targets_M = torch.cat([self._tokens_N[span.start : span.stop] for span in spans])
        if self._largest >= vocab_size:
            raise RefereeError(f"plan step {number}: logits over {vocab_size} tokens, but token {self._largest} occurs")
        logits_MV = torch.cat([each.detach() for each in logits]).to(torch.float32)
        return functional.cross_entropy(logits_MV, targets_M, reduction="none")


# ---- fairway.score.phases --------------------------------------------------------------------------------------------
# Document adapters, and pauses in which SGD moves the base over documents that are scored (recipes E.6; #1610).


def phase_marks(prefix_docs: int, phases: int) -> list[int]:
    """How many documents each phase learns from: 666, 1333, 2000 for 2000 documents in 3 phases."""
    return [prefix_docs * (i + 1) // phases for i in range(phases)]


def sgd_steps(documents: Sequence[Extent], *, chunk_tokens: int, context: int) -> Iterator[LearnStep]:
    """Documents laid end to end and cut every ``chunk_tokens`` inputs, one step a chunk.

    Rows of ``context`` inputs and borders of documents cut a chunk into its spans. The last chunk is skipped, as in
    the published runs: the cosine gives it a rate of 0. If there is no other it is kept, at the full rate.
    """
    total = sum(extent.targets for extent in documents)
    steps = math.ceil(total / chunk_tokens)
    chunks: list[list[tuple[int, int]]] = [[] for _ in range(steps)]
    at = 0
    for extent in documents:
        begin = extent.begin
        while begin < extent.end:
            step, within = divmod(at, chunk_tokens)
            room = min(context - within % context, chunk_tokens - within)
            end = min(begin + room, extent.end)
            chunks[step].append((begin + 1, end + 1))
            at += end - begin
            begin = end
    for step, spans in enumerate(chunks[: max(1, steps - 1)]):
        yield LearnStep("sgd", tuple(spans), step, steps)


class PhasedEvaluator:
    """``LoraEvaluator`` on a base that ``sgd`` moves between batches; ``model`` is its own, to change."""

    def __init__(self, model: Gpt, spec: PhasedSgd, sgd: BaseSgd, *, context: int, looped: bool, seed: int) -> None:
        self._spec = spec
        self._sgd = sgd
        self._lora = LoraEvaluator(model, spec.lora, context=context, looped=looped, seed=seed)

    def plan(self, lengths: Sequence[int]) -> Iterator[PlanStep]:
        """Batches of adapted documents, and a pass of SGD after each that reaches a mark."""
        spec = self._spec
        extents = document_extents(lengths)
        batches = length_batches(extents, spec.lora.batch_docs)
        marks = phase_marks(spec.prefix_docs, spec.phases)
        scored: list[int] = []
        for number, batch in enumerate(batches[:-1]):
            yield from self._lora.batch_steps(extents, batch, number)
            scored.extend(batch)
            if marks and len(scored) >= marks[0]:
                # Batches and their documents come longest first, so the reverse is shortest first.
                chosen = [extents[i] for i in reversed(scored)][: marks.pop(0)]
                yield from sgd_steps(chosen, chunk_tokens=spec.chunk_tokens, context=spec.context)
        if marks:
            raise RecipeError(
                f"score.method: {len(marks)} of {spec.phases} phases would never come: of {len(extents)} validation"
                f" documents in batches of {spec.lora.batch_docs}, {len(scored)} are scored before the last batch;"
                f" make prefix_docs ({spec.prefix_docs}), phases or lora.batch_docs smaller"
            )
        yield from self._lora.batch_steps(extents, batches[-1], len(batches) - 1)

    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Logits under the adapters and the base as it is by now."""
        return self._lora.predict(step, inputs)

    def update(
        self, step: LearnStep, inputs: Sequence[Tensor], targets: Sequence[Tensor]
    ) -> None:
        """Step the adapters, or the base; the base is frozen again after the last step of a pause."""
        if step.what == "lora":
            self._lora.update(step, inputs, targets)
            return
        self._sgd.step(cosine_rate(step.step, step.steps), inputs, targets)
        if step.step + 1 >= step.steps - 1:
            self._sgd.rest()


# ---- fairway.score.evaluate ------------------------------------------------------------------------------------------
# One evaluation, from a model and a stream of tokens to a score, events and a ledger.


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What an evaluation found."""

    name: str
    method: str
    loss_nats: float
    bpb: float
    tokens: int
    bytes: int
    seconds: float
    ledger_head: str


def build_evaluator(
    model: Gpt, spec: ScoreSpec, method: Method, *, seed: int, looped: bool, ranks: Ranks, raw: Gpt | None = None
) -> Evaluator:
    """Make the method of evaluation that a recipe names; an ensemble's other model is ``raw``. None is changed."""
    evaluator = single_evaluator(model, spec, method, seed=seed, looped=looped, ranks=ranks)
    return evaluator


def single_evaluator(
    model: Gpt, spec: ScoreSpec, method: Method, *, seed: int, looped: bool, ranks: Ranks
) -> Evaluator:
    """The method over a frozen copy of one model."""
    own = copy.deepcopy(model).requires_grad_(False)
    context, batch_tokens = spec.context, spec.batch_tokens
    match method:
        case Flat():
            return FlatEvaluator(own, context=context, batch_tokens=batch_tokens, looped=looped)
        case DocumentLora():
            return LoraEvaluator(own, method, context=context, looped=looped, seed=seed)
        case PhasedSgd():
            sgd = base_sgd(own, spec, method, ranks, looped=looped)
            return PhasedEvaluator(own, method, sgd, context=context, looped=looped, seed=seed)


def ledger_settings(spec: ScoreSpec, method: Method, *, seed: int, looped: bool) -> dict[str, Any]:
    """What describes a method on the ledger."""
    return {
        **asdict(method),
        "score_context": spec.context,
        "batch_tokens": spec.batch_tokens,
        "looped": looped,
        "seed": seed,
    }


def base_sgd(
    model: Gpt,
    spec: ScoreSpec,
    method: PhasedSgd,
    ranks: Ranks,
    *,
    looped: bool,
    more: Sequence[Tensor] = (),
    hooks: Hooks = PLAIN,
) -> BaseSgd:
    """What moves the weights that all documents share: on every rank alike where ranks share the evaluation."""
    make = BaseSgd
    return make(
        model,
        lr=method.lr,
        momentum=method.momentum,
        grad_clip=method.grad_clip,
        batch_tokens=spec.batch_tokens,
        looped=looped,
        more=more,
        hooks=hooks,
    )


def evaluate(
    model: Gpt,
    tokens_N: Tensor,
    bytes_N: Tensor,
    spec: ScoreSpec,
    method: Method,
    *,
    seed: int,
    looped: bool,
    ledger_path: Path | None,
    events: EventLog,
    name: str,
    artifact_sha256: str,
    ranks: Ranks,
    clock: Callable[[], float] = time.perf_counter,
    raw: Gpt | None = None,
) -> Score:
    """Score a stream of documents with ``method``; events ``scored`` on the way and ``score`` at the end.

    ``bytes_N`` are the bytes of text each position stands for as a target; ``seed`` draws the adapters; ``raw`` is an
    ensemble's other model. No model is changed. Where the recipe lets ranks share the work each of ``ranks`` calls
    this, else one of them. ``DataError`` for a stream that cannot be scored, ``RefereeError`` for a method that is
    unfair, ``GateError`` when the budget's seconds are used up on any rank: all of them then end, and there is no
    score.
    """
    watch = Watch(spec.budget_s, events, world=1, clock=clock)
    device = model.get_parameter("embedding").device
    stream = tokens_N.to(device), bytes_N, document_lengths(tokens_N)
    referee: Referee
    referee = Referee(*stream)
    with Ledger(ledger_path) as ledger:
        tally = referee.run(
            build_evaluator(model, spec, method, seed=seed, looped=looped, ranks=ranks, raw=raw),
            ledger,
            settings=ledger_settings(spec, method, seed=seed, looped=looped),
            artifact_sha256=artifact_sha256,
            watch=watch,
        )
    score = Score(
        name=name,
        method=method.kind,
        loss_nats=tally.loss_nats,
        bpb=tally.bpb,
        tokens=tally.tokens,
        bytes=tally.size_bytes,
        seconds=watch.seconds,
        ledger_head=ledger.head,
    )
    events.emit(
        "score",
        name=name,
        method=score.method,
        val_loss=score.loss_nats,
        val_bpb=score.bpb,
        tokens=score.tokens,
        bytes=score.bytes,
        seconds=score.seconds,
        compile_s=0.0,  # nothing is compiled on this path yet
    )
    return score


# ---- fairway.spec.optim ----------------------------------------------------------------------------------------------
# Rates, decay, schedule, averaging (recipes C).


@dataclass(frozen=True, slots=True, kw_only=True)
class MuonSpec:
    """Orthogonalised momentum for matrices."""

    lr: float
    momentum: float
    momentum_start: float
    momentum_warmup_steps: int
    weight_decay: float
    newton_schulz_steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamSpec:
    """AdamW for the token embedding and for everything that is no matrix."""

    embed_lr: float
    scalar_lr: float
    embed_weight_decay: float
    scalar_weight_decay: float
    beta1: float
    beta2: float
    eps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimSpec:
    """One multiplier for all rates: flat, then linear down to ``min_lr`` over the last fraction of the budget."""

    muon: MuonSpec
    adam: AdamSpec
    warmdown_fraction: float
    min_lr: float
    grad_clip: float
    """Global norm of the reduced gradient; 0 switches clipping off."""
    ema_decay: float


# ---- fairway.spec.train ----------------------------------------------------------------------------------------------
# Batch, steps, seconds, replay.


@dataclass(frozen=True, slots=True, kw_only=True)
class LateReplay:
    """Keep the last batches while the rate is low, then run over them again (PR #445), inside the budget."""

    start_scale: float
    """Batches are kept while the rate multiplier is below this."""
    keep: int
    epochs: int
    lr_scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """How much is learned from, and for how long."""

    context: int
    """Tokens after which a packed document is cut, and the row length of contiguous batches."""
    batch_tokens: int
    """Tokens of one optimizer step, all ranks and micro-batches together."""
    micro_batch_tokens: int
    """Tokens of one forward on one rank."""
    budget_s: float
    """Wall-clock seconds for training, calibration and replay included."""
    reserve_s: float
    """Seconds of the budget kept for calibration and replay."""
    steps: int | None
    """Progress is counted in these steps when given (and is then reproducible), in seconds otherwise."""
    warmup_steps: int
    """Steps that are run and then undone, so that compilation is outside the clock."""
    compile: bool | Literal["blocks"]
    """The loss as one graph in each loop state; or each kind of ``blocks`` by itself, for a first step in less time.

    Between blocks, what the compiler could fuse over their borders is lost.
    """
    threads: int
    """CPU threads of one process, 0 for torch's own choice; sums depend on it, so reproducible recipes set it."""
    calibration_batches: int
    """Micro-batches of training tokens for the Hessians."""
    log_every: int
    replay: LateReplay


# ---- fairway.spec.recipe ---------------------------------------------------------------------------------------------
# The whole of a run, and where it comes from.


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a run but the seed and the machine."""

    name: str
    seeds: tuple[int, ...]
    model: ModelSpec
    optim: OptimSpec
    train: TrainSpec
    quant: QuantSpec
    score: ScoreSpec


# ---- fairway.train.checkpoint ----------------------------------------------------------------------------------------
# A model to a file and back, named tensors only.


def save_model(path: Path, model: Gpt | Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a model's parameters by name (or a mapping of them), whole or not at all."""
    state = dict(model.named_parameters()) if isinstance(model, Gpt) else model
    save_tensors(path, state, metadata)


def load_model(path: Path, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> Gpt:
    """Model of ``spec`` with the weights of ``path``, computing in ``dtype``.

    ``DataError`` unless names and shapes are exactly the model's own.
    """
    return model_of(load_tensors(path), path, spec, dtype)


def model_of(tensors: Mapping[str, Tensor], path: Path, spec: ModelSpec, dtype: torch.dtype) -> Gpt:
    """``load_model`` of tensors that were read from ``path`` before."""
    model = Gpt(spec, dtype)
    wanted = dict(model.named_parameters())
    missing, surplus = wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys()
    if missing or surplus:
        raise DataError(
            f"{path}: not a checkpoint of this recipe's model: lacks {sorted(missing)}, has unknown {sorted(surplus)}"
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            if tensors[name].shape != parameter.shape:
                raise DataError(
                    f"{path}: {name} must be {tuple(parameter.shape)} for this recipe, got {tuple(tensors[name].shape)}"
                )
            parameter.copy_(tensors[name])
    return model


# ---- fairway.optim.ema -----------------------------------------------------------------------------------------------
# Running average of the weights, in float32, from the first step on.


class Ema:
    """average = decay * average + (1 - decay) * weight after each step.

    It begins at the initial weights and is not corrected for that, as in the published stack (recipes B.3).
    With ``decay`` 0 it is the weights themselves.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        assert 0.0 <= decay < 1.0, decay
        self.decay = decay
        self._names = list(parameters)
        self._weights = [parameter.detach() for parameter in parameters.values()]
        self._averages = [weight.to(torch.float32, copy=True) for weight in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        torch._foreach_lerp_(self._averages, [weight.float() for weight in self._weights], 1.0 - self.decay)

    @torch.no_grad()
    def load_into_weights(self) -> None:
        """Replace the weights by their averages."""
        torch._foreach_copy_(self._weights, self._averages)


# ---- fairway.optim.schedule ------------------------------------------------------------------------------------------
# Rate and momentum as functions of progress. Pure: nothing here knows a clock or an optimizer.


def rate_scale(progress: float, spec: OptimSpec) -> float:
    """Multiplier of every rate at ``progress`` 0..1: 1, then linear down to ``min_lr`` over the last fraction.

    Progress is a share of the budget, never of a step count that is not reached (#1218, recipes C.3). There is
    no warm-up of the rate.
    """
    if progress < 1.0 - spec.warmdown_fraction:
        return 1.0
    return min(1.0, max((1.0 - progress) / spec.warmdown_fraction, spec.min_lr))


def momentum_at(step: int, spec: MuonSpec) -> float:
    """Muon's momentum at a step counted from 0: linear from ``momentum_start`` to ``momentum``, then constant."""
    if step >= spec.momentum_warmup_steps:
        return spec.momentum
    share = step / spec.momentum_warmup_steps
    return spec.momentum_start + share * (spec.momentum - spec.momentum_start)


# ---- fairway.runtime.clock -------------------------------------------------------------------------------------------
# The budget in seconds, and a stopwatch that pauses. Nothing here reads a clock unless it is asked to.


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds that training may take, of which the last ``reserve_s`` belong to calibration and replay."""

    total_s: float
    reserve_s: float

    def __post_init__(self) -> None:
        """Refuse a reserve that leaves nothing to train with."""
        if not 0.0 <= self.reserve_s < self.total_s:
            raise ValueError(f"reserve_s ({self.reserve_s}) must be 0 or more and below total_s ({self.total_s})")

    @property
    def train_s(self) -> float:
        """Seconds of the training loop proper."""
        return self.total_s - self.reserve_s

    def must_stop(self, *, elapsed_s: float, step_s: float) -> bool:
        """Whether one more step of ``step_s`` seconds would eat into the reserve."""
        return elapsed_s + step_s > self.train_s


class Stopwatch:
    """Seconds between ``start`` and ``pause``, added up; it begins paused."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._gathered_s = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Count from now on; a running watch goes on."""
        if self._since is None:
            self._since = self._clock()

    def reset(self) -> None:
        """Back to zero, paused."""
        self._gathered_s, self._since = 0.0, None

    @property
    def elapsed_s(self) -> float:
        """Seconds counted so far."""
        if self._since is None:
            return self._gathered_s
        return self._gathered_s + self._clock() - self._since


# ---- fairway.optim.groups --------------------------------------------------------------------------------------------
# Parameter name to optimizer: every parameter in exactly one group.


@dataclass(frozen=True, slots=True)
class ParameterGroups:
    """Parameters by name, one mapping an optimizer group."""

    matrices: dict[str, nn.Parameter]
    """Banks of matrices, for Muon."""
    embedding: dict[str, nn.Parameter]
    """The tied token embedding and other tables, for AdamW."""
    control: dict[str, nn.Parameter]
    """Scales, gains, mixes, gates and small maps, for AdamW."""

    def all(self) -> dict[str, nn.Parameter]:
        """Every parameter of every group."""
        return {**self.matrices, **self.embedding, **self.control}


def split_parameters(named: Iterable[tuple[str, nn.Parameter]]) -> ParameterGroups:
    """Sort ``model.named_parameters()`` into groups; an undeclared or shared parameter is a mistake of ours."""
    groups = ParameterGroups({}, {}, {})
    seen: set[int] = set()
    for name, parameter in named:
        assert id(parameter) not in seen, f"parameter {name} is in the model under two names"
        seen.add(id(parameter))
        if name.endswith(BANK):
            assert parameter.ndim == 3, f"bank {name} must be (matrices, rows, columns), got {tuple(parameter.shape)}"
            groups.matrices[name] = parameter
        else:
            role = role_of(name)
            assert role in (Role.EMBEDDING, Role.CONTROL), f"matrix {name} outside a bank has no optimizer"
            (groups.embedding if role is Role.EMBEDDING else groups.control)[name] = parameter
    assert len(groups.all()) == len(seen), "a parameter is in two groups"
    return groups


# ---- fairway.optim.adam ----------------------------------------------------------------------------------------------
# AdamW for the token embedding and for everything that is no matrix: torch's own, with our two groups.


class Adam:
    """Decoupled weight decay (arXiv 1711.05101); rate and decay differ for embedding and control parameters."""

    def __init__(self, groups: ParameterGroups, spec: AdamSpec) -> None:
        self._base_rates = (spec.embed_lr, spec.scalar_lr)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": list(groups.embedding.values()), "weight_decay": spec.embed_weight_decay},
                {"params": list(groups.control.values()), "weight_decay": spec.scalar_weight_decay},
            ],
            betas=(spec.beta1, spec.beta2),
            eps=spec.eps,
            fused=True,
        )

    def step(self, *, lr_scale: float) -> None:
        """Move by the gradients that the parameters hold."""
        for group, rate in zip(self._optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * lr_scale
        self._optimizer.step()

    def reset(self) -> None:
        """Forget moments and step count, as if no step had been made."""
        self._optimizer.state.clear()


# ---- fairway.kernels.polar -------------------------------------------------------------------------------------------
# The polar factor of a matrix, nearly: what Muon steps along (recipes C.1).


POLAR_QUINTIC = (3.4445, -4.7750, 2.0315)
"""a, b, c of x -> ax + bx^3 + cx^5: steep at 0, and near 1 it moves about rather than converges (Keller Jordan)."""
POLAR_EPS = 1e-7
"""Added to the norm of a matrix before it divides."""


def orthogonalize(
    x: Tensor, polynomials: Sequence[tuple[float, float, float]]
) -> Tensor:
    """Each matrix with its singular values pushed into about 0.7..1.2 and its singular vectors kept.

    Newton-Schulz, a step a polynomial, in bfloat16 on CUDA, float32 elsewhere; the result has the dtype of ``x``.
    A zero matrix stays zero.
    """
    y = x.to(torch.bfloat16 if x.is_cuda else torch.float32)
    y = y / (torch.linalg.matrix_norm(y, keepdim=True) + POLAR_EPS)
    tall = y.shape[-2] > y.shape[-1]
    y = y.mT if tall else y
    shape = y.shape
    y = y.reshape(-1, *shape[-2:])
    for a, b, c in polynomials:
        gram = torch.bmm(y, y.mT)
        inner = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        y = torch.baddbmm(y, inner, y, beta=a)
    y = y.view(shape)
    return (y.mT if tall else y).contiguous().to(x.dtype)


# ---- fairway.optim.muon ----------------------------------------------------------------------------------------------
# Muon: momentum whose singular values are set to about one (Jordan et al. 2024), batched over banks of matrices.


_MUON_ROW_EPS = 1e-7


def normalise_rows(update: Tensor) -> Tensor:
    """Each row divided by its Euclidean norm, but by no less than 1e-7 (MuonEq-R, #1285)."""
    return update / torch.linalg.vector_norm(update, dim=-1, keepdim=True).clamp_min(_MUON_ROW_EPS)


def shape_factor(rows: int, columns: int) -> float:
    """Scale of an orthogonalised update: sqrt(max(1, rows / columns)) (recipes C.1)."""
    return float(max(1.0, rows / columns) ** 0.5)


class Muon:
    """Momentum, Nesterov, rows to unit norm, Newton-Schulz; weight decay is decoupled and comes first.

    ``buffer <- momentum * buffer + gradient``; the direction is ``gradient + momentum * buffer``;
    ``W <- W * (1 - lr * decay) - lr * sqrt(max(1, rows / columns)) * orthogonalised direction``.
    """

    def __init__(self, banks: Mapping[str, nn.Parameter], spec: MuonSpec) -> None:
        self._spec = spec
        self._banks: list[Tensor] = list(banks.values())
        self._buffers = [torch.zeros_like(bank, memory_format=torch.contiguous_format) for bank in self._banks]

    @torch.no_grad()
    def step(self, *, lr_scale: float, momentum: float) -> None:
        """Move by the gradients that the banks hold."""
        gradients = [bank.grad for bank in self._banks if bank.grad is not None]
        assert len(gradients) == len(self._banks), "a bank without a gradient would stay where it is"
        if not gradients:
            return
        torch._foreach_mul_(self._buffers, momentum)
        torch._foreach_add_(self._buffers, gradients)
        directions = torch._foreach_add(gradients, self._buffers, alpha=momentum)
        rate = self._spec.lr * lr_scale
        torch._foreach_mul_(self._banks, 1.0 - rate * self._spec.weight_decay)
        for bank, direction in zip(self._banks, directions, strict=True):
            direction = normalise_rows(direction)
            steps = self._spec.newton_schulz_steps
            polynomials = ((POLAR_QUINTIC,) * steps)
            update = orthogonalize(direction, polynomials)
            bank.add_(update, alpha=-rate * shape_factor(bank.shape[-2], bank.shape[-1]))

    def reset(self) -> None:
        """Forget the momentum, as if no step had been made."""
        torch._foreach_zero_(self._buffers)


# ---- fairway.train.step ----------------------------------------------------------------------------------------------
# One optimizer step: accumulate, reduce over ranks, clip, move.


LossFn = Callable[[Batch], Tensor]
"""Mean loss in nats of one micro-batch on the model's device."""


class Stepper:
    """Muon and AdamW over all parameters of a model, as one optimizer whose ranks all make the same step."""

    def __init__(self, model: nn.Module, spec: OptimSpec, ranks: Ranks) -> None:
        groups = split_parameters(model.named_parameters())
        self.parameters = groups.all()
        self._spec = spec
        self._ranks = ranks
        self._muon: Muon = (
            Muon(groups.matrices, spec.muon)
        )
        self._adam = Adam(groups, spec.adam)
        for parameter in self.parameters.values():
            # Gradients stay allocated: a parameter that this forward leaves out has a zero one on every rank.
            parameter.grad = torch.zeros_like(parameter)
        self._gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]

    def step(
        self, loss_fn: LossFn, micro_batches: Sequence[Batch], *, lr_scale: float, momentum_step: int
    ) -> tuple[Tensor, Tensor]:
        """Move once by the mean gradient over all micro-batches of all ranks.

        Returns this rank's mean loss in nats, and the norm of the reduced gradient before clipping; both stay on
        the device, so that a GPU need not be waited for. Clipping comes after the reduction (recipes C.1 lists
        the stacks that do it before): ranks agree on the norm, and one rank with accumulation gets the same.
        """
        torch._foreach_zero_(self._gradients)
        losses = []
        for batch in micro_batches:
            loss = loss_fn(batch) / len(micro_batches)
            loss.backward()
            losses.append(loss.detach())
        gradients = self._gradients
        self._ranks.mean_(gradients)
        norm = torch.nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(gradients, (self._spec.grad_clip / norm.clamp_min(1e-12)).clamp_max(1.0))
        self._muon.step(lr_scale=lr_scale, momentum=momentum_at(momentum_step, self._spec.muon))
        self._adam.step(lr_scale=lr_scale)
        return torch.stack(losses).sum(), norm

    def reset(self) -> None:
        """Forget moments, momentum and gradients: the next step is the first one."""
        self._muon.reset()
        self._adam.reset()
        torch._foreach_zero_(self._gradients)


# ---- fairway.train.loop ----------------------------------------------------------------------------------------------
# Warm-up and reset, steps until the budget says stop, late replay, average: training from start to end.


StopReason = Literal["steps", "clock"]


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What training took."""

    steps: int
    """Steps of the loop, replay not counted."""
    train_s: float
    """Seconds of the budget that are gone: loop, replay and averaging; warm-up not."""
    tokens: int
    """Tokens that the loop saw on all ranks; replay sees some of them again."""
    reason: StopReason
    loss_nats: float
    """Mean training loss of the loop's last step."""
    replay_steps: int


@dataclass(slots=True)
class _Progress:
    """Where the loop stands; the same on every rank, because the seconds are the slowest rank's."""

    steps: int = 0
    elapsed_s: float = 0.0
    step_s: float = 0.0

    def advance(self, elapsed_s: float) -> None:
        """One more step is done."""
        self.steps += 1
        # A single quick step must not make the next one look affordable; nor the mean hide that steps grew longer.
        self.step_s = max(elapsed_s - self.elapsed_s, elapsed_s / self.steps)
        self.elapsed_s = elapsed_s


class _Pace:
    """Keeps the host at most one step ahead of a GPU, so that the clock measures work and not queueing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._event: torch.cuda.Event | None = None
        self.steps_behind = 1 if device.type == "cuda" else 0

    def wait(self) -> None:
        """Wait until the step before the one just queued is done; on CPU it is."""
        if self._device.type != "cuda":
            return
        if self._event is not None:
            self._event.synchronize()
        self._event = torch.cuda.Event()
        self._event.record()


@dataclass(frozen=True, slots=True)
class Training:
    """What the parts of a training run work on."""

    spec: TrainSpec
    optim: OptimSpec
    loops: Loops
    stepper: Stepper
    loss_fns: dict[int, LossFn]
    """By loop state (0 or 1), and by 2 more those of the end of training, which take the place of the others."""
    ema: Ema
    batches: TokenBatches
    micro_steps: int
    """Micro-batches of one rank in one step."""
    ranks: Ranks
    events: EventLog
    budget: Budget
    watch: Stopwatch
    kept: deque[list[Batch]]
    """The last steps' micro-batches, for replay."""

    def next_step(self) -> list[Batch]:
        """Take the micro-batches of one step from the stream."""
        return [next(self.batches) for _ in range(self.micro_steps)]

    def step(
        self, micro_batches: list[Batch], *, looped: int, lr_scale: float, momentum_step: int
    ) -> tuple[Tensor, Tensor]:
        """Move the weights once; loss and gradient norm as ``Stepper.step`` returns them."""
        on_device = [batch.to(self.ranks.device) for batch in micro_batches]
        return self.stepper.step(self.loss_fns[looped], on_device, lr_scale=lr_scale, momentum_step=momentum_step)

    def elapsed_s(self) -> float:
        """Seconds of the budget that are gone, by the slowest rank's clock."""
        return self.ranks.max(self.watch.elapsed_s)


def train(
    model: Gpt,
    spec: TrainSpec,
    optim: OptimSpec,
    batches: TokenBatches,
    ranks: Ranks,
    events: EventLog,
    *,
    loops: Loops,
    clock: Callable[[], float] = time.perf_counter,
    raw: dict[str, Tensor] | None = None,
) -> TrainResult:
    """Train ``model`` in place until the steps are done or the budget is; it ends with its averaged weights.

    Progress is the share of ``spec.steps`` where given and of the training seconds otherwise; rates, loops and
    replay follow it. The wall clock always stops the loop, at the same step on every rank: seconds are the
    maximum over ranks (recipes C.4). Warm-up leaves no trace. A loss that is not finite is a ``GateError``. The weights
    as the last step left them are copied into ``raw``, by name.
    """
    began = time.perf_counter()
    micro_steps = _micro_steps(spec, ranks)
    ranks.broadcast_(list(model.parameters()))
    stepper = (
        Stepper(model, optim, ranks)
    )
    any_bounds = False
    run = Training(
        spec=spec,
        optim=optim,
        loops=loops,
        stepper=stepper,
        loss_fns=(_loss_functions(model, spec, loops, any_bounds)),
        ema=Ema(stepper.parameters, optim.ema_decay),
        batches=batches,
        micro_steps=micro_steps,
        ranks=ranks,
        events=events,
        budget=Budget(spec.budget_s, spec.reserve_s),
        watch=Stopwatch(clock),
        kept=deque(maxlen=spec.replay.keep),
    )
    events.emit(
        "start",
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        world=ranks.world,
        device=str(ranks.device),
        budget_s=spec.budget_s,
        reserve_s=spec.reserve_s,
        steps=spec.steps,
        batch_tokens=spec.batch_tokens,
        micro_steps=micro_steps,
    )
    warm_up(run)
    ranks.barrier()
    run.watch.start()
    now, looped, reason, loss_nats = run_loop(run)
    replay_steps = replay_late(run, spec.replay, now, looped)
    if raw is not None:
        raw.update((name, parameter.detach().clone()) for name, parameter in model.named_parameters())
    run.ema.load_into_weights()
    ranks.barrier()
    train_s = run.elapsed_s()
    for parameter in model.parameters():
        parameter.grad = None
    events.emit(
        "done",
        train_s=train_s,
        steps=now.steps,
        tokens=now.steps * spec.batch_tokens,
        reason=reason,
        peak_bytes=_peak_bytes(ranks.device),
        seconds=time.perf_counter() - began,
    )
    return TrainResult(
        steps=now.steps,
        train_s=train_s,
        tokens=now.steps * spec.batch_tokens,
        reason=reason,
        loss_nats=loss_nats,
        replay_steps=replay_steps,
    )


def warm_up(run: Training) -> None:
    """Run real steps in each loop state and undo them all: weights, moments, Muon's momentum, place in the data.

    What stays is compiled code and allocated memory, which is the purpose (recipes C.7, where some stacks leak
    momentum into the first step).
    """
    began = time.perf_counter()
    weights = [weight.detach() for weight in run.stepper.parameters.values()]
    initial = [weight.clone() for weight in weights]
    for looped, loss_fn in run.loss_fns.items():
        for step in range(run.spec.warmup_steps):
            run.step(run.next_step(), looped=looped, lr_scale=1.0, momentum_step=step)
    torch._foreach_copy_(weights, initial)
    run.stepper.reset()
    run.batches.reset()
    run.ranks.barrier()
    run.events.emit("warmup", steps=run.spec.warmup_steps * len(run.loss_fns), seconds=time.perf_counter() - began)


def run_loop(run: Training) -> tuple[_Progress, bool, StopReason, float]:
    """Step until steps or seconds are used up.

    Returns where it stands, whether loops are on, why it ended, and the last step's loss in nats.
    """
    spec, budget, pace = run.spec, run.budget, _Pace(run.ranks.device)
    keep_below = spec.replay.start_scale
    now, looped = _Progress(), False
    loss_nats, logged = math.nan, 0
    reason: StopReason = "steps"
    while now.steps < spec.steps:
        if budget.must_stop(elapsed_s=now.elapsed_s, step_s=now.step_s * (1 + pace.steps_behind)):
            reason = "clock"
            break
        share = (now.steps / spec.steps)
        if not looped and share >= run.loops.start_fraction:
            looped = True
            run.events.emit("loops_on", step=now.steps, fraction=share, train_s=now.elapsed_s)
        lr_scale = rate_scale(share, run.optim)
        micro_batches = run.next_step()
        if lr_scale < keep_below:
            run.kept.append(micro_batches)
        loss, norm = run.step(micro_batches, looped=looped, lr_scale=lr_scale, momentum_step=now.steps)
        run.ema.update()
        pace.wait()
        now.advance(run.elapsed_s())
        if now.steps == 1 or now.steps % spec.log_every == 0:
            loss_nats, logged = _log_step(run, now, loss, norm, lr_scale), now.steps
    if logged < now.steps:
        loss_nats = _log_step(run, now, loss, norm, lr_scale)
    run.ranks.barrier()
    run.events.emit("stop", step=now.steps, reason=reason, train_s=run.elapsed_s())
    return now, looped, reason, loss_nats


def replay_late(run: Training, late: LateReplay, now: _Progress, looped: bool) -> int:
    """Run over the kept batches again at a low rate, the average going along (PR #445); returns the steps made.

    It takes from the reserve, and stops when another step would leave less than calibration is expected to
    need: ``calibration_batches`` micro-batches, each at twice the seconds that a training step spent on one.
    """
    calibration_s = 2.0 * run.spec.calibration_batches * now.step_s / run.micro_steps
    planned = len(run.kept) * late.epochs
    began_s = elapsed_s = run.elapsed_s()
    steps, pace = 0, _Pace(run.ranks.device)
    while steps < planned:
        step_s = now.step_s * (1 + pace.steps_behind)
        if elapsed_s + step_s + calibration_s > run.budget.total_s:
            break
        micro_batches = run.kept[steps % len(run.kept)]
        run.step(micro_batches, looped=looped, lr_scale=late.lr_scale, momentum_step=now.steps + steps)
        run.ema.update()
        pace.wait()
        steps += 1
        elapsed_s = run.elapsed_s()
    run.ranks.barrier()
    run.events.emit(
        "replay",
        batches=len(run.kept),
        epochs=late.epochs,
        seconds=run.elapsed_s() - began_s,
        steps=steps,
        planned=planned,
        cut_short=steps < planned,
        calibration_s=calibration_s,
    )
    return steps


def _micro_steps(spec: TrainSpec, ranks: Ranks) -> int:
    micro_steps, rest = divmod(spec.batch_tokens, spec.micro_batch_tokens * ranks.world)
    if rest or not micro_steps:
        raise RecipeError(
            f"train.batch_tokens ({spec.batch_tokens}) must be a multiple of"
            f" micro_batch_tokens * processes ({spec.micro_batch_tokens} * {ranks.world})"
        )
    return micro_steps


def _loss_functions(
    model: Gpt, spec: TrainSpec, loops: Loops, any_bounds: bool = False
) -> dict[int, LossFn]:
    """One function a loop state, each compiled by itself where the recipe says so: no graph holds a branch.

    With ``any_bounds``, what attends takes any number of segments in one graph.
    """

    def plain(inputs: Tensor, targets: Tensor, cu_seqlens: Tensor | None, max_len: int) -> Tensor:
        return model.loss(inputs, targets, looped=False, cu_seqlens=cu_seqlens, max_len=max_len)

    def looped(inputs: Tensor, targets: Tensor, cu_seqlens: Tensor | None, max_len: int) -> Tensor:
        return model.loss(inputs, targets, looped=True, cu_seqlens=cu_seqlens, max_len=max_len)

    def on_batch(function: Callable[[Tensor, Tensor, Tensor | None, int], Tensor]) -> LossFn:
        ready = function

        def loss_fn(batch: Batch) -> Tensor:
            # A graph needs one length for all batches; without one, padding beyond the longest piece is waste.
            pieces = None if batch.cu_seqlens is None else batch.cu_seqlens
            max_len = spec.context if pieces is None else int(pieces.diff().max())
            return ready(batch.inputs_BT, batch.targets_BT, batch.cu_seqlens, max_len)

        return loss_fn

    functions = {0: on_batch(plain)}
    functions[1] = on_batch(looped)
    return functions


def _log_step(run: Training, now: _Progress, loss: Tensor, norm: Tensor, lr_scale: float) -> float:
    """Log the step just made and return its loss in nats, the mean over ranks."""
    mean = loss.detach().clone()
    run.ranks.mean_([mean])
    loss_nats, grad_norm = float(mean.item()), float(norm.item())
    if not (math.isfinite(loss_nats) and math.isfinite(grad_norm)):
        raise GateError(
            f"training diverged: step {now.steps} has loss {loss_nats} and gradient norm {grad_norm}, both must be"
            " finite; lower the rates (optim.muon.lr, optim.adam) or clip (optim.grad_clip)"
        )
    run.events.emit(
        "step",
        step=now.steps,
        steps=run.spec.steps,
        loss_nats=loss_nats,
        lr_scale=lr_scale,
        grad_norm=grad_norm,
        train_s=now.elapsed_s,
        tokens=now.steps * run.spec.batch_tokens,
        step_avg_ms=1000.0 * now.elapsed_s / now.steps,
    )
    return loss_nats


def _peak_bytes(device: torch.device) -> int:
    """Most memory in use so far: of the GPU by torch, or of this process (ru_maxrss is in KiB, on macOS in bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# ---- fairway.main ----------------------------------------------------------------------------------------------------
# A run from top to bottom: each stage of the pipeline as one function over files.


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One seed of one recipe, and the code that carries it out."""

    recipe: Recipe
    recipe_sha256: str
    forecast_bytes: int
    """Size of the artifact as the recipe lets it be expected."""
    seed: int
    code_sha256: str
    code_bytes: int
    echo: Callable[[str], None] | None = None
    """Takes each line that people read."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What every stage has at hand: its processes, its log, its clock."""

    ranks: Ranks
    log: EventLog
    opened_s: float

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the stage began."""
        return time.perf_counter() - self.opened_s


@contextmanager
def open_stage(run: Run, name: str, events: Path, *, alone: bool = False) -> Iterator[Stage]:
    """Connect the ranks, open the log, and say which code runs where; the log is renamed if the stage succeeds.

    Stages that have no use for other ranks run ``alone``, on the first one. Ranks stay connected for the next stage;
    whoever ran the last one calls ``close_ranks``.
    """
    opened_s = time.perf_counter()
    if run.seed < 0:
        raise DataError(f"seed must be 0 or more, got {run.seed}")
    threads = set_threads(run.recipe.train.threads)
    ranks = open_ranks(alone=alone)
    with EventLog(events if ranks.is_first else None, stage=name, echo=run.echo if ranks.is_first else None) as log:
        log.emit(
            "code",
            sha256=run.code_sha256,
            size_bytes=run.code_bytes,
            recipe_sha256=run.recipe_sha256,
            seed=run.seed,
        )
        log.emit(
            "environment",
            python=platform.python_version(),
            torch=torch.__version__,
            platform=f"{platform.system()} {platform.machine()}, {_processor()}",
            threads=threads,
            world=ranks.world,
            device=_device_name(ranks.device),
        )
        yield Stage(ranks, log, opened_s)


def _processor() -> str:
    """Model name of the CPU; equal bits are only promised on equal ones."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "processor unknown"


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 on a GPU, float32 on a CPU, where it is no slower and sums are reproducible."""
    return torch.bfloat16 if device.type == "cuda" else torch.float32


def training_batches(
    recipe: Recipe, train_folder: Path, ranks: Ranks
) -> PackedBatches:
    """The recipe's loader over the training shards, from their beginning."""
    spec = recipe.train
    kind = (
        PackedBatches
    )
    return kind(
        split_files(train_folder, "train"),
        tokens=spec.micro_batch_tokens,
        context=spec.context,
        rank=ranks.rank,
        world=ranks.world,
    )


def train_stage(run: Run, train_folder: Path, *, checkpoint: Path, events: Path) -> TrainResult:
    """Training shards to averaged weights (safetensors, bank names)."""
    with open_stage(run, "train", events) as stage:
        spec = run.recipe.model
        model = Gpt(spec, dtype=compute_dtype(stage.ranks.device))
        initialise(model, run.seed)
        model.to(stage.ranks.device)
        raw: dict[str, Tensor] = {}
        result = train(
            model,
            run.recipe.train,
            run.recipe.optim,
            training_batches(run.recipe, train_folder, stage.ranks),
            stage.ranks,
            stage.log,
            loops=spec.loops,
            raw=None,
        )
        if stage.ranks.is_first:
            metadata = {"seed": str(run.seed), "steps": str(result.steps)}
            save_model(checkpoint, model, metadata)
        return result


def calibrate_stage(run: Run, train_folder: Path, *, checkpoint: Path, hessians: Path, events: Path) -> None:
    """Weights and training shards, or weights alone, to one Hessian a linear's input (safetensors, matrix names)."""
    with open_stage(run, "calibrate", events) as stage:
        stage.ranks.barrier()  # in a whole run, the first rank has written the checkpoint just now
        model = restore_checkpoint(run, checkpoint, stage.ranks.device)
        gathered = calibrated(run, model, train_folder, stage)
        if stage.ranks.is_first:
            save_tensors(hessians, gathered, {"seed": str(run.seed)})
        stage.log.emit("done", seconds=stage.seconds)


def calibrated(run: Run, model: Gpt, train_folder: Path, stage: Stage) -> dict[str, Tensor]:
    """Hessians on the first training batches, and where bits or rates follow gradients, their squares on the same."""
    looped = True
    gathered = collect(
        model,
        training_batches(run.recipe, train_folder, stage.ranks),
        run.recipe.train.calibration_batches,
        stage.ranks,
        looped=looped,
        events=stage.log,
    )
    gathered |= row_sensitivities(
        model,
        training_batches(run.recipe, train_folder, stage.ranks),
        run.recipe.train.calibration_batches,
        stage.ranks,
        looped=looped,
    )
    return gathered


def rotate_gptq_stage(run: Run, *, checkpoint: Path, hessians: Path, quantized: Path, events: Path) -> None:
    """Weights and Hessians to integers, steps and kept tensors (safetensors)."""
    with open_stage(run, "rotate_gptq", events, alone=evaluates_alone(run.recipe)) as stage:
        model = restore_checkpoint(run, checkpoint, torch.device("cpu"))
        rounded = rounded_model(run, model, load_tensors(hessians), stage)
        save_quantized(quantized, rounded)
        stage.log.emit("done", seconds=stage.seconds)


def rounded_model(run: Run, model: Gpt, gathered: Mapping[str, Tensor], stage: Stage) -> QuantizedModel:
    """One model rounded by its Hessians: by all ranks together where they share the work."""
    return rounded_to_fit(
        model,
        gathered,
        run.recipe.quant,
        run.recipe.quant.rates,
        {"recipe_sha256": run.recipe_sha256, "seed": run.seed},
        stage.log,
        None,
        None,
    )


def compress_stage(run: Run, *, quantized: Path, artifact: Path, events: Path) -> int:
    """Integers to the artifact, whose size the rule counts and this returns."""
    with open_stage(run, "compress", events, alone=True) as stage:
        extra = {"recipe_sha256": run.recipe_sha256, "seed": run.seed}
        data = pack(load_quantized(quantized), run.recipe.quant, extra)
        write_bytes_atomic(artifact, data)
        stage.log.emit(
            "done",
            artifact_bytes=len(data),
            artifact_sha256=sha256_file(artifact),
            forecast_bytes=run.forecast_bytes,
            seconds=stage.seconds,
        )
        return len(data)


def evaluate_stage(
    run: Run, val_folder: Path, tokenizer: Path, *, artifact: Path, scores: Path, ledger: Path, events: Path
) -> list[Score]:
    """Artifact and validation shards to the scores; nothing else is read.

    The quantized weights are scored as they are, then with the recipe's method, which writes the ledger.
    """
    with open_stage(run, "evaluate", events, alone=evaluates_alone(run.recipe)) as stage:
        stage.ranks.barrier()  # in a whole run, the first rank has written the artifact just now
        artifact_sha256 = sha256_file(artifact)
        model = restore_artifact(run, artifact, stage.ranks.device)
        tokens_N, bytes_N = validation(run, val_folder, tokenizer)
        stage.log.emit("load", seconds=stage.seconds, artifact_sha256=artifact_sha256)
        spec = run.recipe.score
        looped = True
        quantized = evaluate(
            model,
            tokens_N,
            bytes_N,
            spec,
            spec.diagnostic,
            seed=run.seed,
            looped=looped,
            ledger_path=None,
            events=stage.log,
            name="quantized",
            artifact_sha256=artifact_sha256,
            ranks=stage.ranks,
            raw=None,
        )
        final = evaluate(
            model,
            tokens_N,
            bytes_N,
            spec,
            spec.method,
            seed=run.seed,
            looped=looped,
            ledger_path=ledger if stage.ranks.is_first else None,
            events=stage.log,
            name="final",
            artifact_sha256=artifact_sha256,
            ranks=stage.ranks,
            raw=None,
        )
        if stage.ranks.is_first:
            write_scores(scores, [quantized, final], artifact_sha256)
        stage.log.emit("done", seconds=stage.seconds)
        return [quantized, final]


def evaluate_float_stage(
    run: Run, val_folder: Path, tokenizer: Path, *, checkpoint: Path, scores: Path, events: Path
) -> Score:
    """Weights before quantization to a diagnostic score: what rounding costs is told against it."""
    with open_stage(run, "float", events, alone=evaluates_alone(run.recipe)) as stage:
        stage.ranks.barrier()
        model = restore_checkpoint(run, checkpoint, stage.ranks.device)
        tokens_N, bytes_N = validation(run, val_folder, tokenizer)
        score = evaluate(
            model,
            tokens_N,
            bytes_N,
            run.recipe.score,
            run.recipe.score.diagnostic,
            seed=run.seed,
            looped=True,
            ledger_path=None,
            events=stage.log,
            name="float",
            artifact_sha256=sha256_file(checkpoint),
            ranks=stage.ranks,
            raw=None,
        )
        if stage.ranks.is_first:
            write_scores(scores, [score], sha256_file(checkpoint))
        stage.log.emit("done", seconds=stage.seconds)
        return score


def evaluates_alone(recipe: Recipe) -> bool:
    """Whether the first rank rounds and scores by itself, whoever else was started."""
    return recipe.score.ranks == "first"


def restore_checkpoint(run: Run, checkpoint: Path, device: torch.device) -> Gpt:
    """The model of a checkpoint that this run's train stage wrote, unless it holds an ensemble's two."""
    return load_model(checkpoint, run.recipe.model, compute_dtype(device)).to(device)


def restore_artifact(run: Run, artifact: Path, device: torch.device) -> Gpt:
    """The model that the artifact's bytes give back, any rotation folded into its weights unless it is to be online.

    An ensemble's artifact holds two: ``restore_artifact_pair``.
    """
    data = artifact_bytes(artifact)
    state, _ = unpack(data, run.recipe.quant)
    return unpacked_model(run, state, device)


def unpacked_model(run: Run, state: Mapping[str, Tensor], device: torch.device) -> Gpt:
    """The model with these weights, by names outside banks."""
    model = Gpt(run.recipe.model, dtype=compute_dtype(device))
    model.load_state_dict(bank(state, run.recipe.model))
    return model.to(device)


def artifact_bytes(artifact: Path) -> bytes:
    """The file's bytes; ``DataError`` if it cannot be read."""
    try:
        return artifact.read_bytes()
    except OSError as error:
        raise DataError(f"{artifact}: cannot be read: {error.strerror or error}") from error


def validation(run: Run, val_folder: Path, tokenizer: Path) -> tuple[Tensor, Tensor]:
    """The validation stream, and the bytes that each of its positions counts as a target.

    The recipe settles what counts them: where texts were rewritten, sidecars do.
    """
    tokens_N = load_tokens(val_folder, "val")
    return tokens_N, ByteTable.from_tokenizer(tokenizer).of_targets(tokens_N)


def save_quantized(path: Path, model: QuantizedModel) -> None:
    """Write symbols, steps and kept tensors into one safetensors file."""
    groups = {"symbols": model.symbols, "steps": model.steps, "kept": model.kept}
    tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
    save_tensors(path, tensors, {})


def load_quantized(path: Path) -> QuantizedModel:
    """What ``save_quantized`` wrote."""
    tensors = load_tensors(path)
    groups: dict[str, dict[str, Tensor]] = {"symbols": {}, "steps": {}, "kept": {}}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        if group not in groups:
            raise DataError(f"{path}: tensors lie under symbols/, steps/ or kept/, got {key!r}")
        groups[group][name] = tensor
    return QuantizedModel(**groups)


def write_scores(path: Path, scores: list[Score], weights_sha256: str) -> None:
    """Write the scores of one evaluation as JSON."""
    content: Mapping[str, Any] = {"scores": [asdict(score) for score in scores], "weights_sha256": weights_sha256}
    write_text_atomic(path, json.dumps(content, indent=1) + "\n")


# ---- fairway.launch --------------------------------------------------------------------------------------------------
# The single file's command line: a whole run, or one stage of it. The bundler calls it at the end of the file.


OVERRIDES = ("SEED", "DATA_PATH", "TOKENIZER_PATH", "MAX_WALLCLOCK_SECONDS", "RUN_ID")
"""Environment variables that change a whole run."""

STAGE_FILES = {
    "train": ("data",),
    "calibrate": ("data", "checkpoint"),
    "rotate_gptq": ("checkpoint", "hessians"),
    "compress": ("quantized",),
    "float": ("val", "tokenizer", "checkpoint"),
    "evaluate": ("val", "tokenizer", "artifact", "ledger"),
}
"""Stages in the order of a whole run, and the files that each is told of beside its output and its events."""

RUN_FILES = {
    "checkpoint": "model.safetensors",
    "hessians": "hessians.safetensors",
    "quantized": "quantized.safetensors",
    "artifact": "artifact.bin",
    "float": "float.json",
    "score": "score.json",
    "ledger": "ledger.jsonl",
}
"""What a whole run writes into its folder, as the workflow's stages name it; the events beside."""

_LAUNCH_OUTPUTS = ("checkpoint", "hessians", "quantized", "artifact", "float", "score")
_LAUNCH_TOGETHER = ("train", "calibrate")
_LAUNCH_SHARED = ("rotate_gptq", "float", "evaluate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What the bundler knows when it writes the file, and the file of itself."""

    recipe: Recipe
    recipe_sha256: str
    forecast_bytes: int
    data: str
    """Where the dataset is looked for unless DATA_PATH says."""
    code_sha256: str
    code_bytes: int

    def run(self, seed: int, echo: Callable[[str], None] | None, recipe: Recipe) -> Run:
        """One seed of the recipe, or of one that differs from it in what the environment may change."""
        return Run(
            recipe=recipe,
            recipe_sha256=self.recipe_sha256,
            forecast_bytes=self.forecast_bytes,
            seed=seed,
            code_sha256=self.code_sha256,
            code_bytes=self.code_bytes,
            echo=echo,
        )


def launch(program: Program, arguments: Sequence[str]) -> int:
    """Run what the command line asks for and return the exit status: 0 done, 2 yours to mend, 3 ours."""
    try:
        given = settings(OVERRIDES)
        asked = _launch_arguments(arguments)
        if asked["stage"] is None:
            _launch_whole(program, given)
        elif first_process() or asked["stage"] in _launch_together(program.recipe):
            run = program.run(asked["seed"], _launch_complain, program.recipe)
            perform(run, asked["stage"], asked)
    except (FairwayError, OSError, MemoryError) as error:
        _launch_complain(f"{Path(sys.argv[0]).name}: {' '.join(str(error).split()) or 'out of memory'}")
        return 2
    finally:
        close_ranks()
    return 0


def perform(run: Run, stage: str, files: Mapping[str, Path]) -> Any:
    """Carry out one stage; ``files`` holds what ``STAGE_FILES`` says, ``output`` and ``events``."""
    output, events = files["output"], files["events"]
    if stage == "train":
        return train_stage(run, files["data"], checkpoint=output, events=events)
    if stage == "calibrate":
        return calibrate_stage(run, files["data"], checkpoint=files["checkpoint"], hessians=output, events=events)
    if stage == "rotate_gptq":
        return rotate_gptq_stage(
            run, checkpoint=files["checkpoint"], hessians=files["hessians"], quantized=output, events=events
        )
    if stage == "compress":
        return compress_stage(run, quantized=files["quantized"], artifact=output, events=events)
    val, tokenizer = files["val"], files["tokenizer"]
    if stage == "float":
        return evaluate_float_stage(run, val, tokenizer, checkpoint=files["checkpoint"], scores=output, events=events)
    return evaluate_stage(
        run, val, tokenizer, artifact=files["artifact"], scores=output, ledger=files["ledger"], events=events
    )


def _launch_complain(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _launch_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Options by name: pairs of ``--name value``, each a file but ``stage`` and ``seed``."""
    asked = dict(zip((word.lstrip("-") for word in arguments[::2]), arguments[1::2], strict=False))
    if "o" in asked:
        asked["output"] = asked.pop("o")
    stage = asked.get("stage")
    wanted = {"stage", "seed", "output", "events", *STAGE_FILES[stage]} if stage in STAGE_FILES else set()
    if asked.keys() != wanted or len(arguments) != 2 * len(wanted):
        options = " ".join(f"--{name}" for name in sorted(wanted))
        raise FairwayError(
            f"stage {stage} takes {options}, no more and no less"
            if wanted
            else f"the whole run takes no options, --stage is one of {', '.join(STAGE_FILES)}"
        )
    seed = _launch_number(int, asked.pop("seed", 0), "--seed must be a whole number")
    return {**{name: Path(value) for name, value in asked.items()}, "stage": stage, "seed": seed}


def _launch_whole(program: Program, given: dict[str, str]) -> None:
    recipe = program.recipe
    seed = _launch_number(int, given.get("SEED", recipe.seeds[0]), "SEED must be a whole number")
    if "MAX_WALLCLOCK_SECONDS" in given:
        limit = "MAX_WALLCLOCK_SECONDS must be a number of seconds"
        budget_s = _launch_number(float, given["MAX_WALLCLOCK_SECONDS"], limit)
        if not recipe.train.reserve_s < budget_s < math.inf:
            raise FairwayError(f"{limit} above {recipe.train.reserve_s} (kept for calibration), got {budget_s}")
        recipe = replace(recipe, train=replace(recipe.train, budget_s=budget_s))
    name = given.get("RUN_ID", f"{recipe.name}_seed{seed}")
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise FairwayError(f"RUN_ID must be a plain name, for a folder gets it, got {name!r}")
    folder, data = Path("logs", name), Path(given.get("DATA_PATH", program.data))
    files = run_files(folder, data, Path(given.get("TOKENIZER_PATH", data / "tokenizer.model")))
    folder.mkdir(parents=True, exist_ok=True)
    with Path(f"{folder}.txt" if first_process() else os.devnull).open("w", encoding="utf-8") as log:

        def echo(line: str) -> None:
            for file in (sys.stdout, log) if first_process() else ():
                file.write(f"{line}\n")
                file.flush()

        echo(f"code sha256:{program.code_sha256} size_bytes:{program.code_bytes}")
        echo(f"recipe:{recipe.name} sha256:{program.recipe_sha256}\nseed:{seed}")
        for key, value in given.items():
            echo(f"environment {key}:{value}")
        run_whole(program.run(seed, echo, recipe), files, echo)


def _launch_together(recipe: Recipe) -> tuple[str, ...]:
    """Stages that all ranks take part in."""
    return _LAUNCH_TOGETHER if evaluates_alone(recipe) else (*_LAUNCH_TOGETHER, *_LAUNCH_SHARED)


def run_files(folder: Path, data: Path, tokenizer: Path) -> dict[str, Path]:
    """Every file of a whole run that keeps its own in ``folder``; shards lie in ``data`` or in folders inside it."""
    shards = {key: data / key if (data / key).is_dir() else data for key in ("train", "val")}
    own = {key: folder / file for key, file in RUN_FILES.items()}
    return {**own, "data": shards["train"], "val": shards["val"], "tokenizer": tokenizer}


def run_whole(run: Run, files: Mapping[str, Path], echo: Callable[[str], None]) -> None:
    """Every stage in order, with the lines by which published logs are read.

    Ranks but the first leave a stage out that has no use for them, and go home when there is none that has.
    """
    together = _launch_together(run.recipe)
    for stage, output in zip(STAGE_FILES, _LAUNCH_OUTPUTS, strict=True):
        if stage not in together:
            if "evaluate" not in together:
                close_ranks()
            if not first_process():
                continue
        events = files[output].with_name(f"{stage}.events.jsonl")
        result = perform(run, stage, {**files, "output": files[output], "events": events})
        if stage == "train" and result.reason == "clock":
            echo(f"stopping_early: wallclock_cap train_time: {1000 * result.train_s:.0f}ms step: {result.steps}")
        elif stage == "compress":
            codec = f"quantized+{run.recipe.quant.codec}"
            echo(f"Code size: {run.code_bytes} bytes\nSerialized model {codec}: {result} bytes")
            echo(f"Total submission size {codec}: {run.code_bytes + result} bytes")
        elif stage == "float":
            echo(_launch_score("pre-quantization post-ema", result))
        elif stage == "evaluate":
            echo(_launch_score("quantized", result[0]))
            echo(_launch_score(f"final_{result[1].method}_exact", result[1]))


def _launch_score(label: str, score: Score) -> str:
    milliseconds = round(1000 * score.seconds)
    return f"{label} val_loss:{score.loss_nats:.8f} val_bpb:{score.bpb:.8f} eval_time:{milliseconds}ms"


def _launch_number(kind: type[int] | type[float], text: object, message: str) -> Any:
    try:
        return kind(str(text))
    except ValueError as error:
        raise FairwayError(f"{message}, got {text!r}") from error


# ---- the recipe and the call -----------------------------------------------------------------------------------------

RECIPE = Recipe(
    name="pocket",
    seeds=(1337, 42, 2024),
    model=ModelSpec(
        vocab_size=1024,
        layers=5,
        width=128,
        heads=4,
        kv_heads=2,
        mlp_width=384,
        rope_dims=16,
        rope_base=10000.0,
        qk_gain=5.0,
        softcap=30.0,
        xsa_last=5,
        negative_slope=0.5,
        embedding_std=0.005,
        start="orthogonal",
        loops=Loops(
            first=1,
            last=2,
            extra=1,
            start_fraction=0.35,
        ),
        lanes=TwoLanes(
            start=3,
        ),
    ),
    optim=OptimSpec(
        muon=MuonSpec(
            lr=0.026,
            momentum=0.97,
            momentum_start=0.92,
            momentum_warmup_steps=100,
            weight_decay=0.095,
            newton_schulz_steps=5,
        ),
        adam=AdamSpec(
            embed_lr=0.03,
            scalar_lr=0.02,
            embed_weight_decay=0.085,
            scalar_weight_decay=0.02,
            beta1=0.9,
            beta2=0.95,
            eps=1e-08,
        ),
        warmdown_fraction=0.75,
        min_lr=0.0,
        grad_clip=0.3,
        ema_decay=0.988,
    ),
    train=TrainSpec(
        context=256,
        batch_tokens=1024,
        micro_batch_tokens=1024,
        budget_s=300.0,
        reserve_s=60.0,
        steps=500,
        warmup_steps=2,
        compile=False,
        threads=1,
        calibration_batches=64,
        log_every=10,
        replay=LateReplay(
            start_scale=0.2,
            keep=32,
            epochs=1,
            lr_scale=0.1,
        ),
    ),
    quant=QuantSpec(
        attention=TrellisGrid(
            bits=8,
            clip_sigmas=26.63,
            scale_floor=1e-10,
            states=64,
            segment=256,
        ),
        mlp=TrellisGrid(
            bits=8,
            clip_sigmas=24.57,
            scale_floor=1e-10,
            states=64,
            segment=256,
        ),
        embedding=Grid(
            kind="sigmas",
            bits=8,
            clip_sigmas=40.32,
            scale_floor=1e-10,
        ),
        rates=Lagrangian(
            cap_bytes=500000,
            code_bytes=31200,
            headroom_bytes=2000,
            tolerance_bytes=2000,
        ),
        rounding=Gptq(
            damp=0.01,
            block=128,
        ),
        rotation=Hadamard(
            kind="hadamard",
            seed=20260416,
        ),
        codec="smallest",
    ),
    score=ScoreSpec(
        context=256,
        batch_tokens=4096,
        method=PhasedSgd(
            kind="phased",
            lora=DocumentLora(
                kind="lora",
                rank=8,
                alpha=None,
                chunk=64,
                batch_docs=8,
                lr=0.008,
                beta1=0.0,
                beta2=0.999,
                eps=1e-10,
                weight_decay=0.5,
                optimizer="adamw",
                b_lr_ratio=1.0,
                keep_a=False,
                slot_lr_slope=0.5,
            ),
            prefix_docs=24,
            phases=3,
            lr=0.001,
            momentum=0.9,
            chunk_tokens=2048,
            context=256,
            grad_clip=1.0,
        ),
        diagnostic=Flat(
            kind="flat",
        ),
        budget_s=300.0,
        ranks="first",
    ),
)

if __name__ == "__main__":
    with open(__file__, "rb") as CODE_FILE:
        CODE = CODE_FILE.read()
    PROGRAM = Program(
        recipe=RECIPE,
        recipe_sha256="fa1e601d99631b0b61d73198c7bb60e96c0a8b42b3e69f5f314223cb1b6adc94",
        forecast_bytes=465423,
        data="data/embedded_v1024-dce0b379",
        code_sha256=hashlib.sha256(CODE).hexdigest(),
        code_bytes=len(CODE),
    )
    sys.exit(launch(PROGRAM, sys.argv[1:]))
