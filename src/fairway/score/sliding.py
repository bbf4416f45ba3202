"""Overlapping windows over the whole stream: each target is predicted with a long context (recipes E.2)."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fairway.kernels.softcap_ce import softcap
from fairway.model.gpt import Gpt
from fairway.model.hooks import PLAIN, Hooks
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import grouped, sliding_windows


class SlidingEvaluator:
    """Windows of ``context`` inputs every ``stride`` targets, across documents, as rows of one batch."""

    def __init__(
        self, model: Gpt, *, context: int, stride: int, batch_tokens: int, looped: bool, hooks: Hooks = PLAIN
    ) -> None:
        self._model = model
        self._context = context
        self._stride = stride
        self._batch_tokens = batch_tokens
        self._looped = looped
        self._hooks = hooks

    def plan(self, lengths: Sequence[int]) -> Iterator[PlanStep]:
        """Windows in the order of the stream; one that is shorter than the others has a step of its own."""
        windows = sliding_windows(sum(lengths) - 1, self._context, self._stride)
        for _, alike in groupby(windows, key=lambda span: span.inputs):
            yield from (ScoreStep(group) for group in grouped(list(alike), self._batch_tokens))

    @torch.no_grad()
    def predict(self, step: ScoreStep, inputs: Sequence[Int[Tensor, " _"]]) -> Sequence[Float[Tensor, "_ V"]]:
        """Logits of each window's last rows; the head runs on no others."""
        hidden_BTD = self._model.hidden(torch.stack(list(inputs)), looped=self._looped, hooks=self._hooks)
        rows = [hidden_TD[-span.targets :] for hidden_TD, span in zip(hidden_BTD, step.spans, strict=True)]
        logits_MV = softcap(self._model.raw_logits(torch.cat(rows)), self._model.spec.softcap)
        return logits_MV.split([span.targets for span in step.spans])

    def update(
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """Never called: the plan learns nothing."""
        raise AssertionError("the sliding method learns nothing")
