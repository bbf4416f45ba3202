"""Document adapters, and pauses in which SGD moves the base over documents that are scored (recipes E.6; #1610).

The queue of documents is that of ``adapt``, longest first. Of the first ``prefix_docs`` documents, ``phases`` marks
are made, the i-th at ``prefix_docs * (i + 1) // phases``. After the batch of documents with which the number of
scored ones reaches a mark there is a pause: the scored documents, shortest first and cut to the mark's number, are
laid end to end and learned from once, ``chunk_tokens`` a step. (So the longest ones are the ones left out, as in the
published runs, where batches count from the shortest.)

Two rules for what the published runs never met. A batch that reaches several marks makes one pause; the next mark is
looked at after the next batch. A recipe of which some pause would never come, because too few batches follow, is
refused.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fairway.errors import RecipeError
from fairway.kernels.softcap_ce import softcap_ce
from fairway.model.gpt import Gpt
from fairway.score.adapt import LoraEvaluator
from fairway.score.flat import segment_offsets
from fairway.score.referee import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import Extent, document_extents, length_batches
from fairway.spec.score import PhasedSgd


def phase_marks(prefix_docs: int, phases: int) -> list[int]:
    """How many documents each phase learns from: 666, 1333, 2000 for 2000 documents in 3 phases."""
    return [prefix_docs * (i + 1) // phases for i in range(phases)]


def cosine_rate(step: int, steps: int) -> float:
    """Share of the rate at one of ``steps`` steps: from 1 to 0, and 1 if there is but one."""
    return 0.5 * (1.0 + math.cos(math.pi * step / (steps - 1))) if steps > 1 else 1.0


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
    """``LoraEvaluator`` on a base that learns between batches; ``model`` is its own, to change.

    One forward of a pause holds at most ``batch_tokens`` tokens (or one span); a step's gradient is gathered over
    its forwards.
    """

    def __init__(
        self, model: Gpt, spec: PhasedSgd, *, context: int, batch_tokens: int, looped: bool, seed: int
    ) -> None:
        self._model = model
        self._spec = spec
        self._batch_tokens = batch_tokens
        self._looped = looped
        self._lora = LoraEvaluator(model, spec.lora, context=context, looped=looped, seed=seed)
        self._optimizer: torch.optim.SGD | None = None

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

    def predict(self, step: ScoreStep, inputs: Sequence[Int[Tensor, " _"]]) -> Sequence[Float[Tensor, "_ V"]]:
        """Logits under the adapters and the base as it is by now."""
        return self._lora.predict(step, inputs)

    def update(
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """Step the adapters, or the base; the base is frozen again after the last step of a pause."""
        if step.what == "lora":
            self._lora.update(step, inputs, targets)
            return
        if step.step == 0:
            self._optimizer = torch.optim.SGD(
                self._model.requires_grad_(True).parameters(), lr=self._spec.lr, momentum=self._spec.momentum
            )
        assert self._optimizer is not None
        self._sgd_step(self._optimizer, cosine_rate(step.step, step.steps), inputs, targets)
        if step.step + 1 >= step.steps - 1:
            self._model.requires_grad_(False)
            self._optimizer = None

    def _forwards(self, inputs: Sequence[Int[Tensor, " _"]], total: int) -> Sequence[slice]:
        """The pieces of each forward of a step of ``total`` targets."""
        return list(parts(inputs, self._batch_tokens))

    def _gather(self) -> None:
        """The step's gradient is whole when this returns."""

    def _sgd_step(
        self,
        optimizer: torch.optim.SGD,
        share: float,
        inputs: Sequence[Int[Tensor, " _"]],
        targets: Sequence[Int[Tensor, " _"]],
    ) -> None:
        total = sum(each.numel() for each in targets)
        for part in self._forwards(inputs, total):
            hidden_1ND = self._model.hidden(
                torch.cat(list(inputs[part])).unsqueeze(0),
                looped=self._looped,
                cu_seqlens=segment_offsets(inputs[part]),
                max_len=max(each.numel() for each in inputs[part]),
            )
            losses = softcap_ce(
                self._model.raw_logits(hidden_1ND[0]), torch.cat(list(targets[part])), self._model.spec.softcap
            )
            (losses.sum() / total).backward()
        self._gather()
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._spec.grad_clip)
        for group in optimizer.param_groups:
            group["lr"] = self._spec.lr * share
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def parts(pieces: Sequence[Int[Tensor, " _"]], tokens: int) -> Iterator[slice]:
    """Consecutive pieces of at most ``tokens`` elements together; a longer piece is a part of its own."""
    first = held = 0
    for i, piece in enumerate(pieces):
        if i > first and held + piece.numel() > tokens:
            yield slice(first, i)
            first, held = i, 0
        held += piece.numel()
    yield slice(first, len(pieces))
