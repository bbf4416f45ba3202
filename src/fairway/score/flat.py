"""Each document in rows of ``context`` tokens, each row scored whole: the plain score of fixed weights."""

from collections.abc import Iterator, Sequence
from itertools import chain

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fairway.kernels.softcap_ce import softcap
from fairway.model.gpt import Gpt
from fairway.score.steps import LearnStep, ScoreStep
from fairway.score.windows import document_extents, document_rows, grouped


def segment_offsets(pieces: Sequence[Int[Tensor, " _"]]) -> Int[Tensor, " _"]:
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
    def predict(self, step: ScoreStep, inputs: Sequence[Int[Tensor, " _"]]) -> Sequence[Float[Tensor, "_ V"]]:
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
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """Never called: the plan learns nothing."""
        raise AssertionError("the flat method learns nothing")
