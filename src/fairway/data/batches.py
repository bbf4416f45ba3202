"""Endless streams of training rows, the same for any number of ranks.

A micro-batch is a span of ``tokens + 1`` consecutive tokens: all but the last are inputs, all but the first are
targets. The sequence of spans is fixed by the files alone; of every ``world`` spans rank ``r`` takes the ``r``-th. So
two ranks with one micro-batch each see what one rank sees in two.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, Int32
from torch import Tensor

from fairway.data.documents import segment_bounds
from fairway.data.shards import TokenArray, find_token, open_shard, read_tokens
from fairway.errors import DataError
from fairway.spec.data import BOS


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch of one rank."""

    inputs_BT: Int[Tensor, "B T"]
    targets_BT: Int[Tensor, "B T"]
    cu_seqlens: Int32[Tensor, " M"] | None
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
    def _read(self, place: Any) -> Int[Tensor, " N"]:
        """Tokens of the span at a place."""

    @abstractmethod
    def _batch(self, span_N: Int[Tensor, " N"]) -> Batch:
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

    def _read(self, place: tuple[int, int]) -> Int[Tensor, " N"]:
        shard, start = place
        return read_tokens(self._shards[shard], start, start + self._span)

    def _batch(self, span_N: Int[Tensor, " N"]) -> Batch:
        inputs_N, targets_N = span_N[:-1], span_N[1:]
        return Batch(inputs_N[None], targets_N[None], segment_bounds(inputs_N, self._context))


class ContiguousBatches(TokenBatches):
    """Rows of ``context`` tokens from one stream over all shards, wrapping, blind to documents (recipes A.6.1)."""

    def __init__(self, files: Sequence[Path], *, tokens: int, context: int, rank: int, world: int) -> None:
        assert tokens % context == 0, (tokens, context)
        super().__init__(files, tokens=tokens, context=context, rank=rank, world=world)
        total = sum(len(shard) for shard in self._shards)
        if total < self._span:
            raise DataError(
                f"a micro-batch of {self._span - 1} tokens needs {self._span} of them; the shards under"
                f" {self._files[0].parent} have {total}"
            )

    def reset(self) -> None:
        """Go back to the first token."""
        self._shard = 0
        self._cursor = 0

    def _next_place(self) -> tuple[int, int]:
        place = self._shard, self._cursor
        self._cursor += self._span
        while self._cursor >= len(self._shards[self._shard]):
            self._cursor -= len(self._shards[self._shard])
            self._shard = (self._shard + 1) % len(self._shards)
        return place

    def _read(self, place: tuple[int, int]) -> Int[Tensor, " N"]:
        shard, start = place
        parts: list[Tensor] = []
        missing = self._span
        while missing:
            part = read_tokens(self._shards[shard], start, start + missing)
            parts.append(part)
            missing -= len(part)
            shard, start = (shard + 1) % len(self._shards), 0
        return torch.cat(parts)

    def _batch(self, span_N: Int[Tensor, " N"]) -> Batch:
        return Batch(span_N[:-1].reshape(-1, self._context), span_N[1:].reshape(-1, self._context), None)


def packed_batches(files: Sequence[Path], *, tokens: int, context: int, rank: int = 0, world: int = 1) -> PackedBatches:
    """Rows ``(1, tokens)`` of whole documents and the bounds between them, pieces of at most ``context`` tokens."""
    return PackedBatches(files, tokens=tokens, context=context, rank=rank, world=world)


def contiguous_batches(
    files: Sequence[Path], *, tokens: int, context: int, rank: int = 0, world: int = 1
) -> ContiguousBatches:
    """Rows ``(tokens / context, context)`` in stream order."""
    return ContiguousBatches(files, tokens=tokens, context=context, rank=rank, world=world)
