"""Loaders that cut shards into windows and draw from them, the same for any number of ranks (recipes A.6).

A shard has a phase, and window ``k`` begins ``k * context`` tokens after it; a window is ``context + 1`` tokens long,
so that neighbours share the one that is target of the first and input of the second.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.data.batches import Batch, TokenBatches
from fairway.data.shards import read_tokens
from fairway.errors import DataError

_WINDOW_SEED = 0
_STRIDE_FEW = 8
_STRIDE_MANY = 32
_STRIDE_MANY_PER_PART = 8
_STRIDE_RAMP_STEPS = 1800
_STRIDE_SHARPNESS = (0.90, 0.50)
"""Shards that a step mixes, at first and in the end; after so many steps; exponents of what remains (#1060)."""

Window = tuple[int, int]
"""Shard, and position of the first token."""


@dataclass(slots=True, kw_only=True)
class _Walk:
    """One round over the windows of a shard, each once: window ``(start + k * stride) mod count`` is the k-th."""

    phase: int
    count: int
    start: int
    stride: int
    context: int
    taken: int = 0

    def take(self) -> int:
        """Position of the next window."""
        window = (self.start + self.taken * self.stride) % self.count
        self.taken += 1
        return self.phase + window * self.context


class WindowBatches(TokenBatches):
    """Rows ``(tokens / context, context)``, each a window of its own; the draw is the same on every rank."""

    def __init__(self, files: Sequence[Path], *, tokens: int, context: int, rank: int, world: int) -> None:
        assert tokens % context == 0, (tokens, context)
        self._rows = tokens // context
        super().__init__(files, tokens=tokens, context=context, rank=rank, world=world)
        for file, shard in zip(self._files, self._shards, strict=True):
            if len(shard) <= context:
                raise DataError(f"{file}: a window needs {context + 1} tokens, the shard has {len(shard)}")

    def reset(self) -> None:
        """Go back to the first draw."""
        self._draw = torch.Generator().manual_seed(_WINDOW_SEED)
        self._groups = self._drawn()

    @abstractmethod
    def _drawn(self) -> Iterator[list[Window]]:
        """Windows of one micro-batch after another, without end."""

    def _next_place(self) -> list[Window]:
        return next(self._groups)

    def _read(self, place: list[Window]) -> Int[Tensor, " N"]:
        return torch.cat([read_tokens(self._shards[shard], at, at + self._context + 1) for shard, at in place])

    def _batch(self, span_N: Int[Tensor, " N"]) -> Batch:
        rows = span_N.view(self._rows, self._context + 1)
        return Batch(rows[:, :-1].contiguous(), rows[:, 1:].contiguous(), None)

    def _integer(self, below: int) -> int:
        return int(torch.randint(below, (), generator=self._draw))

    def _phase(self, shard: int) -> int:
        return self._integer(min(self._context, len(self._shards[shard]) - self._context))

    def _count(self, shard: int, phase: int) -> int:
        return (len(self._shards[shard]) - 1 - phase) // self._context


class ShuffledBatches(WindowBatches):
    """All windows of all shards in random order; when all are used, new phases and a new order (#1394, A.6.3).

    The published loader draws a shard by how many windows remain in it, then one of them: that is a uniform
    permutation of all windows, and here drawn as one. There each rank has files of its own, here all see all.
    """

    def _drawn(self) -> Iterator[list[Window]]:
        left: list[Window] = []
        while True:
            while len(left) < self._rows:
                left += self._permuted()
            yield left[: self._rows]
            left = left[self._rows :]

    def _permuted(self) -> list[Window]:
        phases = [self._phase(shard) for shard in range(len(self._shards))]
        counts = torch.tensor([self._count(shard, phase) for shard, phase in enumerate(phases)])
        ends = counts.cumsum(0)
        picks = torch.randperm(int(ends[-1]), generator=self._draw)
        shards = torch.searchsorted(ends, picks, right=True)
        places = torch.tensor(phases)[shards] + (picks - (ends - counts)[shards]) * self._context
        return list(zip(shards.tolist(), places.tolist(), strict=True))


class StridedBatches(WindowBatches):
    """Each shard is walked with a stride coprime to its windows, each step mixes many shards (#1060, A.6.2).

    Where the publication counts ranks we count the micro-batches of a step, which are as many at its size: ``parts``
    of them share the windows of one draw, the i-th taking windows i, i + parts, ...
    """

    def __init__(
        self, files: Sequence[Path], *, tokens: int, context: int, rank: int, world: int, step_tokens: int
    ) -> None:
        self._parts = step_tokens // tokens
        super().__init__(files, tokens=tokens, context=context, rank=rank, world=world)

    def _drawn(self) -> Iterator[list[Window]]:
        walks = [self._walk(shard) for shard in range(len(self._shards))]
        step = 0
        while True:
            buckets: list[list[Window]] = []
            left = [walk.count - walk.taken for walk in walks]
            for shard, count in self._mixed(left, min(step / _STRIDE_RAMP_STEPS, 1.0)):
                bucket: list[Window] = []
                for _ in range(count):
                    bucket.append((shard, walks[shard].take()))
                    if walks[shard].taken == walks[shard].count:
                        walks[shard] = self._walk(shard)
                buckets.append([bucket[i] for i in self._order(count)])
            mixed: list[Window] = []
            while buckets:
                mixed += [buckets[i].pop() for i in self._order(len(buckets))]
                buckets = [bucket for bucket in buckets if bucket]
            for part in range(self._parts):
                yield mixed[part :: self._parts]
            step += 1

    def _walk(self, shard: int) -> _Walk:
        phase = self._phase(shard)
        count = self._count(shard, phase)
        start, stride = self._integer(count), 1
        if count > 1:
            stride = 1 + self._integer(count - 1)
            while math.gcd(stride, count) != 1:
                stride = 1 + self._integer(count - 1)
        return _Walk(phase=phase, count=count, start=start, stride=stride, context=self._context)

    def _mixed(self, left: Sequence[int], ramp: float) -> list[tuple[int, int]]:
        """Which shards give how many windows to this step."""
        total = self._rows * self._parts
        few = min(max(_STRIDE_FEW, self._parts), len(left), total)
        many = min(max(_STRIDE_MANY, _STRIDE_MANY_PER_PART * self._parts), len(left), total)
        first, last = _STRIDE_SHARPNESS
        weights = torch.tensor(left, dtype=torch.float64) ** (first + ramp * (last - first))
        shards = torch.multinomial(weights, round(few + ramp * (many - few)), generator=self._draw)
        counts = torch.ones(len(shards), dtype=torch.int64)
        if total > len(shards):
            extra = torch.multinomial(weights[shards], total - len(shards), replacement=True, generator=self._draw)
            counts += extra.bincount(minlength=len(shards))
        return list(zip(shards.tolist(), counts.tolist(), strict=True))

    def _order(self, count: int) -> list[int]:
        order: list[int] = torch.randperm(count, generator=self._draw).tolist()
        return order
