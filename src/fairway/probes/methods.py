"""The methods of evaluation that recipes name, as subjects: moving, with steps of size zero, and without any."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fairway.kernels.softcap_ce import softcap
from fairway.model.gpt import Gpt
from fairway.model.hooks import PLAIN
from fairway.probes.subject import MethodSubject
from fairway.runtime.ranks import Ranks
from fairway.score.adapt import chunk_logits
from fairway.score.evaluate import build_evaluator, ledger_settings
from fairway.score.referee import Evaluator
from fairway.score.sliding import SlidingEvaluator
from fairway.score.steps import LearnStep, ScoreStep
from fairway.score.windows import Span
from fairway.spec.score import (
    AheadPasses,
    ChunkPasses,
    ChunkSgd,
    DocumentLora,
    Flat,
    Method,
    Pass,
    PhasedSgd,
    ScoreSpec,
    Sliding,
)


def method_subject(
    model: Gpt,
    spec: ScoreSpec,
    method: Method,
    *,
    seed: int,
    looped: bool,
    name: str | None = None,
    raw: Gpt | None = None,
) -> MethodSubject:
    """A recipe's method over frozen copies of ``model``, and of an ensemble's other model ``raw``, as for a score."""
    device = model.get_parameter("embedding").device
    ranks = Ranks(0, 1, device)

    def make(how: Method) -> Evaluator:
        return build_evaluator(model, spec, how, seed=seed, looped=looped, ranks=ranks, raw=raw)

    learns = not isinstance(method, Flat | Sliding)
    return MethodSubject(
        name=name or method.kind,
        make=lambda: make(method),
        device=device,
        settings=ledger_settings(spec, method, seed=seed, looped=looped),
        make_still=(lambda: make(stilled(method))) if learns else None,
        make_static=(lambda: StaticEvaluator(model, spec, method, make(method), looped=looped)) if learns else None,
    )


def stilled(method: Method) -> Method:
    """The method with every rate zero."""
    match method:
        case DocumentLora():
            return replace(method, lr=0.0)
        case PhasedSgd():
            return replace(method, lr=0.0, lora=replace(method.lora, lr=0.0))
        case ChunkSgd():
            return replace(method, lr=0.0)
        case ChunkPasses() | AheadPasses():
            then = replace(method.then, lr=0.0) if isinstance(method.then, Pass) else method.then
            return replace(method, first=replace(method.first, lr=0.0), then=then)
        case Flat() | Sliding():
            return method


class StaticEvaluator:
    """Fixed weights over the spans of an adaptive method, in forwards of the same shapes: equal to the last bit."""

    def __init__(self, model: Gpt, spec: ScoreSpec, method: Method, adaptive: Evaluator, *, looped: bool) -> None:
        self._model = copy.deepcopy(model).requires_grad_(False)
        self._adaptive = adaptive
        self._looped = looped
        self._windows: SlidingEvaluator | None = None
        if isinstance(method, ChunkSgd | ChunkPasses | AheadPasses):
            self._windows = SlidingEvaluator(
                self._model,
                context=spec.context,
                stride=method.stride,
                batch_tokens=spec.batch_tokens,
                looped=looped,
            )

    def plan(self, lengths: Sequence[int]) -> Iterator[ScoreStep]:
        """What the adaptive method scores, without what it learns."""
        return (step for step in self._adaptive.plan(lengths) if isinstance(step, ScoreStep))

    @torch.no_grad()
    def predict(self, step: ScoreStep, inputs: Sequence[Int[Tensor, " _"]]) -> Sequence[Float[Tensor, "_ V"]]:
        """Logits of windows, or of rows of documents; those that end here have a forward of their own."""
        if self._windows is not None:
            return self._windows.predict(step, inputs)
        going = step.learns
        logits: list[Tensor] = []
        for part in (slice(0, going), slice(going, len(step.spans))):
            if step.spans[part]:
                logits += self._rows(step.spans[part], inputs[part])
        return logits

    def update(
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """Never called: the plan learns nothing."""
        raise AssertionError("fixed weights learn nothing")

    def _rows(self, spans: Sequence[Span], inputs: Sequence[Int[Tensor, " _"]]) -> list[Tensor]:
        """Logits of the last ``span.targets`` inputs of each row."""
        raw_logits_BCV = chunk_logits(self._model, spans, inputs, looped=self._looped, hooks=PLAIN)
        capped_BCV = softcap(raw_logits_BCV, self._model.spec.softcap)
        return [row_CV[: span.targets] for row_CV, span in zip(capped_BCV, spans, strict=True)]
