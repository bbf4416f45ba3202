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

from jaxtyping import Float, Int
from torch import Tensor

from fairway.errors import RecipeError
from fairway.model.gpt import Gpt
from fairway.score.adapt import LoraEvaluator
from fairway.score.sgd import BaseSgd, cosine_rate
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import Extent, document_extents, length_batches
from fairway.spec.score import PhasedSgd


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
        self._sgd.step(cosine_rate(step.step, step.steps), inputs, targets)
        if step.step + 1 >= step.steps - 1:
            self._sgd.rest()
            if self._spec.lora.keep_a:
                self._lora.forget()
