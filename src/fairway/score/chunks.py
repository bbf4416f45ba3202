"""Sliding windows, and after each chunk of the stream SGD over what it scored (recipes E.3; #549, #1413, #1493, #1529).

A window belongs to the chunk that holds its first scored target. When a chunk's windows are scored its rows of
``context`` inputs are learned from, all of them in one step, ``epochs`` times; the rate falls with the chunks as a
cosine, so the last chunk, whose rate is 0, is not learned from. The momentum lasts over chunks.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from fairway.model.gpt import Gpt
from fairway.model.hooks import PLAIN, Hooks
from fairway.score.sgd import BaseSgd, cosine_rate
from fairway.score.sliding import SlidingEvaluator
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import grouped, sliding_windows
from fairway.spec.score import ChunkSgd, ScoreSpec

HASH_MULTIPLIER = 2039


class HashTable:
    """A vector for each hash of two tokens, added to what the first layer reads; it begins as zero (#1523, #1529).

    It is learned during the evaluation alone and is no part of the artifact.
    """

    def __init__(self, model: Gpt, rows: int) -> None:
        device = model.get_parameter("embedding").device
        self.rows_HD = torch.zeros(rows, model.spec.width, device=device, requires_grad=True)
        self.hooks = Hooks(enter=self.enter)

    def enter(self, tokens_BT: Tensor, positions_T: Tensor, x_BTD: Tensor) -> Tensor:
        """``x`` plus the row of ``(2039 before + token) mod rows``; before the first token of a piece stands 0."""
        before_BT = tokens_BT.roll(1, -1).masked_fill(positions_T == 0, 0)
        rows_BT = (HASH_MULTIPLIER * before_BT + tokens_BT) % self.rows_HD.shape[0]
        return x_BTD + F.embedding(rows_BT, self.rows_HD).to(x_BTD.dtype)


class ChunkEvaluator(SlidingEvaluator):
    """``SlidingEvaluator`` on weights that ``sgd`` moves after each chunk; ``model`` is its own, to change."""

    def __init__(
        self, model: Gpt, method: ChunkSgd, spec: ScoreSpec, sgd: BaseSgd, *, looped: bool, hooks: Hooks = PLAIN
    ) -> None:
        super().__init__(
            model,
            context=spec.context,
            stride=method.stride,
            batch_tokens=spec.batch_tokens,
            looped=looped,
            hooks=hooks,
        )
        self._method = method
        self._sgd = sgd

    def plan(self, lengths: Sequence[int]) -> Iterator[PlanStep]:
        """Chunk by chunk: its windows, then its rows, ``epochs`` times."""
        targets, size = sum(lengths) - 1, self._method.chunk_tokens
        chunks = -(-targets // size)
        windows = sliding_windows(targets, self._context, self._stride)
        for chunk, own in groupby(windows, key=lambda span: (span.start - 1) // size):
            for _, alike in groupby(own, key=lambda span: span.inputs):
                yield from (ScoreStep(group) for group in grouped(list(alike), self._batch_tokens))
            firsts = range(chunk * size, (chunk + 1) * size - self._context + 1, self._context)
            rows = tuple((first + 1, first + 1 + self._context) for first in firsts)
            if rows and chunk < chunks - 1:
                for _ in range(self._method.epochs):
                    yield LearnStep("sgd", rows, chunk, chunks)

    def update(
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """One step over all rows of a chunk."""
        self._sgd.step(cosine_rate(step.step, step.steps), inputs, targets)
