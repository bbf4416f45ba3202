"""Evaluations with one fault each, as they were seen in submissions, beside the fair one that they are made from.

``Script`` is fair: a small model of the last two tokens that scores documents in chunks and learns from a chunk once it
is scored. Each cheat overrides one thing of it. The cheats of ``PLANTED`` go through no referee, as scripts of their
own do; those of ``THROUGH_THE_REFEREE`` are methods of evaluation that the referee drives. ``caught_by`` names the
probe that is meant for the fault; numbers are pull requests of openai/parameter-golf in which it was seen.
"""

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fairway.probes.stream import Stream
from fairway.probes.subject import Notes, Trace
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import Span

CHUNK = 6
WIDTH = 8
HASH_ROWS = 64


class Enough(Exception):
    """As many steps were taken as were asked for."""


@dataclass(slots=True)
class Job:
    """One run over one stream: its notes, and what the evaluation remembers beyond a document."""

    stream: Stream
    notes: Notes
    step_limit: int | None
    memory: dict[str, Any] = field(default_factory=dict)

    def enter_scores(self, span: Span, losses_M: Tensor, log_probs_MV: Tensor, *, count: bool = True) -> None:
        """One step that scored a span; ``count``: whether its losses go into the claim."""
        number = len(self.notes.steps)
        for row, position in enumerate(range(span.start, span.stop)):
            if position in self.notes.watch:
                target = int(self.stream.tokens_N[position])
                self.notes.used(position, log_probs_MV[row], float(losses_M[row]), target)
        self.notes.scored(span, losses_M, number)
        if count:
            self.notes.nats += losses_M.tolist()
            self.notes.bytes += int(self.stream.bytes_N[span.start : span.stop].sum())
        self.took(ScoreStep((span,), chunk=(span.start - span.context) // CHUNK))

    def enter_update(self, span: Span) -> None:
        """One step that learned from the targets of a span."""
        self.took(LearnStep("lora", ((span.start, span.stop),)))

    def took(self, step: PlanStep) -> None:
        """A step is done."""
        self.notes.steps.append(step)
        if self.step_limit is not None and len(self.notes.steps) >= self.step_limit:
            raise Enough


@dataclass(frozen=True)
class Script:
    """Fair: predicts from the last two tokens, scores a chunk, learns from it, forgets with the document."""

    caught_by: ClassVar[str] = ""
    rate: float = 0.5
    learns: bool = True

    @property
    def name(self) -> str:
        return type(self).__name__

    def still(self) -> "Script | None":
        return replace(self, rate=0.0) if self.learns else None

    def static(self) -> "Script | None":
        return replace(self, learns=False) if self.learns else None

    def run(self, stream: Stream, *, watch: Collection[int] = (), step_limit: int | None = None) -> Trace:
        job = Job(stream, Notes(stream.tokens_N.numel(), frozenset(watch)), step_limit)
        try:
            self.evaluate(job)
        except Enough:
            pass
        return job.notes.trace()

    def evaluate(self, job: Job) -> None:
        for begin, end in self.order(job):
            delta_DV = self.beginning(job)
            for span in self.spans(job, begin, end):
                self.score(job, delta_DV, span)
                if self.learns:
                    self.learn(job, delta_DV, span)
                    job.enter_update(span)

    def order(self, job: Job) -> Iterable[tuple[int, int]]:
        """Where documents begin and end, longest first: a function of lengths alone."""
        starts = job.stream.starts
        bounds = [(start, start + length) for start, length in zip(starts, job.stream.lengths, strict=True)]
        return sorted(bounds, key=lambda bound: (bound[0] - bound[1], bound[0]))

    def spans(self, job: Job, begin: int, end: int) -> Iterator[Span]:
        last = min(end, job.stream.targets)
        for start in range(begin + 1, last + 1, CHUNK):
            yield Span(begin, start, min(start + CHUNK, last + 1))

    def beginning(self, job: Job) -> Tensor:
        """What a document begins with: nothing learned yet."""
        return torch.zeros(WIDTH, job.stream.vocab_size)

    def score(self, job: Job, delta_DV: Tensor, span: Span) -> None:
        log_probs_MV = self.log_probs_MV(job, delta_DV, span)
        job.enter_scores(span, self.losses_M(job, log_probs_MV, span), log_probs_MV)

    def losses_M(self, job: Job, log_probs_MV: Tensor, span: Span) -> Tensor:
        return -log_probs_MV[torch.arange(span.targets), job.stream.tokens_N[span.start : span.stop]]

    def log_probs_MV(self, job: Job, delta_DV: Tensor, span: Span) -> Tensor:
        weights = weights_of(job.stream.vocab_size)
        return (self.hidden_MD(job, span) @ (weights["out"] + delta_DV)).log_softmax(-1)

    def hidden_MD(self, job: Job, span: Span) -> Tensor:
        """From the last token, a smear of the one before it, and a hashed row of the pair."""
        weights, rows = weights_of(job.stream.vocab_size), torch.arange(span.start, span.stop)
        last, before = self.token_M(job, rows - 1), self.token_M(job, rows - 2)
        has_before = (rows - 2 >= self.smear_from(span))[:, None]
        hashed_MD = weights["hash"][(31 * last + before * has_before[:, 0]) % HASH_ROWS]
        return weights["in"][last] + 0.5 * has_before * weights["in"][before] + hashed_MD

    def smear_from(self, span: Span) -> int:
        """The first token that may be smeared into the next: the document's own BOS."""
        return span.context

    def token_M(self, job: Job, rows: Tensor) -> Tensor:
        """Tokens of these positions, 0 outside of the stream."""
        size = job.stream.tokens_N.numel()
        return job.stream.tokens_N[rows.clamp(0, size - 1)] * ((rows >= 0) & (rows < size))

    def learn(self, job: Job, delta_DV: Tensor, span: Span) -> None:
        """One step of gradient descent on a span, in place."""
        hidden_MD = self.hidden_MD(job, span)
        weights = weights_of(job.stream.vocab_size)
        wrong_MV = (hidden_MD @ (weights["out"] + delta_DV)).softmax(-1)
        wrong_MV[torch.arange(span.targets), job.stream.tokens_N[span.start : span.stop]] -= 1.0
        delta_DV -= self.rate * hidden_MD.T @ wrong_MV / span.targets


def weights_of(vocab_size: int) -> dict[str, Tensor]:
    """The trained weights, so to speak."""
    source = torch.Generator().manual_seed(vocab_size)
    return {
        "in": torch.randn(vocab_size, WIDTH, generator=source) * 0.5,
        "out": torch.randn(WIDTH, vocab_size, generator=source) * 0.5,
        "hash": torch.randn(HASH_ROWS, WIDTH, generator=source) * 0.3,
    }


class StaticScript(Script):
    """Fair too: learns nothing."""

    def __init__(self) -> None:
        super().__init__(learns=False)


class SmearAhead(Script):
    """Mixes in the embedding of the token after the target: a roll in the wrong direction."""

    caught_by = "future-flip"

    def hidden_MD(self, job: Job, span: Span) -> Tensor:
        ahead = self.token_M(job, torch.arange(span.start, span.stop) + 1)
        return super().hidden_MD(job, span) + 0.5 * weights_of(job.stream.vocab_size)["in"][ahead]


class HashAhead(Script):
    """The hashed pair is of the last token and the one after the target."""

    caught_by = "future-flip"

    def hidden_MD(self, job: Job, span: Span) -> Tensor:
        rows = torch.arange(span.start, span.stop)
        key_M = (31 * self.token_M(job, rows - 1) + 7 * self.token_M(job, rows + 1)) % HASH_ROWS
        return super().hidden_MD(job, span) + weights_of(job.stream.vocab_size)["hash"][key_M]


class TargetHash(Script):
    """The target is part of the key that it is predicted by (#779, #797)."""

    caught_by = "self-flip"

    def hidden_MD(self, job: Job, span: Span) -> Tensor:
        rows = torch.arange(span.start, span.stop)
        key_M = (31 * self.token_M(job, rows - 1)) ^ (7 * self.token_M(job, rows))
        return super().hidden_MD(job, span) + weights_of(job.stream.vocab_size)["hash"][key_M % HASH_ROWS]


class TargetGate(Script):
    """A hint from the past, normalised, but applied only where the target begins a word (#1420, #1967, #2018)."""

    caught_by = "self-flip"

    def log_probs_MV(self, job: Job, delta_DV: Tensor, span: Span) -> Tensor:
        rows = torch.arange(span.start, span.stop)
        hint_M, begins_word_M = self.token_M(job, rows - 1), self.token_M(job, rows) % 2 == 0
        tilt_MV = functional.one_hot(hint_M, job.stream.vocab_size) * begins_word_M[:, None]
        return (super().log_probs_MV(job, delta_DV, span) + 2.0 * tilt_MV).log_softmax(-1)


class UnnormalisedCache(Script):
    """Adds count(context, token) / count(context) of two hashed tables, each token by itself (#982)."""

    caught_by = "sum-to-one"
    buckets: ClassVar[int] = 16

    def log_probs_MV(self, job: Job, delta_DV: Tensor, span: Span) -> Tensor:
        pairs, contexts = self.tables(job)
        last_M = self.token_M(job, torch.arange(span.start, span.stop) - 1)
        every_V = torch.arange(job.stream.vocab_size)
        pairs_MV = pairs[(31 * last_M[:, None] + every_V) % self.buckets]
        ratio_MV = (pairs_MV / contexts[last_M % self.buckets][:, None].clamp_min(1.0)).clamp_max(1.0)
        return (0.6 * super().log_probs_MV(job, delta_DV, span).exp() + 0.4 * ratio_MV).log()

    def learn(self, job: Job, delta_DV: Tensor, span: Span) -> None:
        super().learn(job, delta_DV, span)
        pairs, contexts = self.tables(job)
        rows = torch.arange(span.start, span.stop)
        last_M, target_M = self.token_M(job, rows - 1), self.token_M(job, rows)
        pairs += torch.bincount((31 * last_M + target_M) % self.buckets, minlength=self.buckets)
        contexts += torch.bincount(last_M % self.buckets, minlength=self.buckets)

    def tables(self, job: Job) -> tuple[Tensor, Tensor]:
        tables = job.memory.setdefault("tables", (torch.zeros(self.buckets), torch.zeros(self.buckets)))
        assert isinstance(tables, tuple)
        return tables


class ByteSpread(Script):
    """Spreads a token's probability evenly over its bytes and mixes a model of bytes into each (#1850, #1905)."""

    caught_by = "sum-to-one"

    def log_probs_MV(self, job: Job, delta_DV: Tensor, span: Span) -> Tensor:
        per_byte_MV = (super().log_probs_MV(job, delta_DV, span) / 2).exp()
        counts = job.memory.setdefault("bytes", torch.ones(4 + job.stream.vocab_size // 4))
        share = counts / counts.sum()
        first_V, second_V = bytes_of(torch.arange(job.stream.vocab_size))
        mixed_MV = (0.5 * share[first_V] + 0.5 * per_byte_MV) * (0.5 * share[second_V] + 0.5 * per_byte_MV)
        return mixed_MV.log()

    def learn(self, job: Job, delta_DV: Tensor, span: Span) -> None:
        super().learn(job, delta_DV, span)
        counts = job.memory["bytes"]
        for byte_M in bytes_of(job.stream.tokens_N[span.start : span.stop]):
            counts += torch.bincount(byte_M, minlength=counts.numel())


def bytes_of(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The two bytes that a token is spelled with."""
    return tokens % 4, 4 + tokens // 4


class AdaptFirst(Script):
    """Learns from a chunk, then scores it (#415, #517)."""

    caught_by = "future-flip"

    def score(self, job: Job, delta_DV: Tensor, span: Span) -> None:
        if self.learns:
            self.learn(job, delta_DV, span)
        super().score(job, delta_DV, span)


class Slot(Script):
    """Fits a bias to the very window that it then scores, and forgets it (#1229, #1240)."""

    caught_by = "future-flip"

    def log_probs_MV(self, job: Job, delta_DV: Tensor, span: Span) -> Tensor:
        log_probs_MV = super().log_probs_MV(job, delta_DV, span)
        bias_V = torch.zeros(job.stream.vocab_size)
        seen_V = torch.bincount(job.stream.tokens_N[span.start : span.stop], minlength=bias_V.numel())
        for _ in range(4):
            bias_V += seen_V - (log_probs_MV + bias_V).softmax(-1).sum(0)
        return (log_probs_MV + bias_V).log_softmax(-1)


class BestOfTwo(Script):
    """Scores everything, learns from everything, scores it again, and keeps the smaller loss (#573, #846)."""

    caught_by = "future-flip"

    def evaluate(self, job: Job) -> None:
        every = [span for begin, end in self.order(job) for span in self.spans(job, begin, end)]
        first: dict[Span, Tensor] = {}
        delta_DV = self.beginning(job)
        for span in every:
            log_probs_MV = self.log_probs_MV(job, delta_DV, span)
            first[span] = self.losses_M(job, log_probs_MV, span)
            job.enter_scores(span, first[span], log_probs_MV, count=False)
            self.learn(job, delta_DV, span)
            job.enter_update(span)
        for span in every:
            log_probs_MV = self.log_probs_MV(job, delta_DV, span)
            better_M = torch.minimum(first[span], self.losses_M(job, log_probs_MV, span))
            job.enter_scores(span, better_M, log_probs_MV)


class LastEpoch(Script):
    """Trains on all documents for two epochs and reports the loss of the last (#512, #568)."""

    caught_by = "future-flip"

    def evaluate(self, job: Job) -> None:
        every = [span for begin, end in self.order(job) for span in self.spans(job, begin, end)]
        delta_DV = self.beginning(job)
        for epoch in range(2):
            for span in every:
                if epoch == 1:
                    self.score(job, delta_DV, span)
                self.learn(job, delta_DV, span)
                job.enter_update(span)


class Calibrated(Script):
    """Begins with a bias from counts of the whole validation text (#728, for scales of weights)."""

    caught_by = "future-flip"

    def log_probs_MV(self, job: Job, delta_DV: Tensor, span: Span) -> Tensor:
        counts_V = torch.bincount(job.stream.tokens_N, minlength=job.stream.vocab_size)
        return (super().log_probs_MV(job, delta_DV, span) + (counts_V + 1.0).log()).log_softmax(-1)


class TunedTemperature(Script):
    """Chooses the temperature that the whole text is scored best with (#1004)."""

    caught_by = "future-flip"

    def log_probs_MV(self, job: Job, delta_DV: Tensor, span: Span) -> Tensor:
        if "temperature" not in job.memory:
            job.memory["temperature"] = 1.0
            whole = Span(0, 1, job.stream.tokens_N.numel())
            logits_MV = super().log_probs_MV(job, delta_DV, whole)
            inverse = torch.ones((), requires_grad=True)
            for _ in range(5):
                loss = functional.cross_entropy(inverse * logits_MV, job.stream.tokens_N[1:])
                (slope,) = torch.autograd.grad(loss, inverse)
                inverse = (inverse - 0.2 * slope).detach().requires_grad_()
            job.memory["temperature"] = float(inverse.detach())
        return (job.memory["temperature"] * super().log_probs_MV(job, delta_DV, span)).log_softmax(-1)


class ByContent(Script):
    """Takes documents in the order of what stands in them, so that alike follows alike."""

    caught_by = "order"

    def order(self, job: Job) -> Iterable[tuple[int, int]]:
        tokens_N = job.stream.tokens_N
        return sorted(super().order(job), key=lambda bound: float(tokens_N[bound[0] : bound[1]].double().mean()))


class SkipsHard(Script):
    """Leaves out a chunk that it would score badly."""

    caught_by = "order"

    def score(self, job: Job, delta_DV: Tensor, span: Span) -> None:
        losses_M = self.losses_M(job, self.log_probs_MV(job, delta_DV, span), span)
        if float(losses_M.mean()) < 1.05 * math.log(job.stream.vocab_size):
            super().score(job, delta_DV, span)


class SkipsTail(Script):
    """Scores the first half of each document and claims the score of the whole (#1835, #1854)."""

    caught_by = "order"

    def spans(self, job: Job, begin: int, end: int) -> Iterator[Span]:
        found = list(super().spans(job, begin, end))
        return iter(found[: (len(found) + 1) // 2])


class SmearAcross(Script):
    """Smears the last token of a document into the next one's BOS (#1797)."""

    caught_by = "document-boundary"

    def smear_from(self, span: Span) -> int:
        return 0


class SecretUpdate(Script):
    """Carries what it learned of a document into the next one, and says nothing of it on the ledger."""

    caught_by = "document-boundary"

    def evaluate(self, job: Job) -> None:
        delta_DV = self.beginning(job)
        for begin, end in self.order(job):
            for span in self.spans(job, begin, end):
                self.score(job, delta_DV, span)
                if self.learns:
                    self.learn(job, delta_DV, span)


class HiddenRate(Script):
    """Learns by a rate that is not the one it states."""

    caught_by = "zero-rate"

    def learn(self, job: Job, delta_DV: Tensor, span: Span) -> None:
        replace(Script(), rate=max(self.rate, 0.3)).learn(job, delta_DV, span)


class LuckyDraw(Script):
    """Draws noise that nobody can draw again, and keeps the best of three."""

    caught_by = "a-a"
    draws: ClassVar[Iterator[int]] = itertools.count()

    def losses_M(self, job: Job, log_probs_MV: Tensor, span: Span) -> Tensor:
        source = torch.Generator().manual_seed(next(self.draws))
        noise_KMV = torch.randn(3, *log_probs_MV.shape, generator=source)
        target_M = job.stream.tokens_N[span.start : span.stop]
        tries_KMV = (log_probs_MV + 0.3 * noise_KMV).log_softmax(-1)
        return -tries_KMV[:, torch.arange(span.targets), target_M].max(0).values


PLANTED: tuple[type[Script], ...] = (
    SmearAhead,
    HashAhead,
    TargetHash,
    TargetGate,
    UnnormalisedCache,
    ByteSpread,
    AdaptFirst,
    Slot,
    BestOfTwo,
    LastEpoch,
    Calibrated,
    TunedTemperature,
    ByContent,
    SkipsHard,
    SkipsTail,
    SmearAcross,
    SecretUpdate,
    HiddenRate,
    LuckyDraw,
)


class Wrapped:
    """A fair method of evaluation that the referee drives, with one thing changed in what it predicts."""

    caught_by: ClassVar[str]

    def __init__(self, fair: Any) -> None:
        self.fair = fair
        self.plan, self.update = fair.plan, fair.update

    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> list[Tensor]:
        logits = self.fair.predict(step, inputs)
        return [
            self.changed_MV(span, tokens_C, logits_MV, inputs)
            for span, tokens_C, logits_MV in zip(step.spans, inputs, logits, strict=True)
        ]

    def changed_MV(self, span: Span, tokens_C: Tensor, logits_MV: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        """``tokens_C`` are all inputs of the span: those of its later targets too."""
        raise NotImplementedError


class PeekingForward(Wrapped):
    """A forward that is not causal: each position sees the token after its own target."""

    caught_by = "future-flip"

    def changed_MV(self, span: Span, tokens_C: Tensor, logits_MV: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        ahead = tokens_C[span.start - span.context + 1 :]
        changed_MV = logits_MV.clone()
        changed_MV[torch.arange(ahead.numel()), ahead] += 1.0
        return changed_MV


class SeeingItself(Wrapped):
    """A forward that is off by one: each position sees its own target."""

    caught_by = "self-flip"

    def changed_MV(self, span: Span, tokens_C: Tensor, logits_MV: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        own = tokens_C[span.start - span.context :]
        changed_MV = logits_MV.clone()
        changed_MV[torch.arange(own.numel()), own] += 1.0
        return changed_MV


class WindowBias(Wrapped):
    """A bias fitted to the window that is being scored, the last target aside, which it cannot reach."""

    caught_by = "future-flip"

    def changed_MV(self, span: Span, tokens_C: Tensor, logits_MV: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        return logits_MV + torch.bincount(tokens_C, minlength=logits_MV.shape[-1])


class MixedBatch(Wrapped):
    """Something of all documents of a batch goes into each, as an activation scale of the batch would."""

    caught_by = "document-boundary"

    def changed_MV(self, span: Span, tokens_C: Tensor, logits_MV: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        others = [other for other in inputs if other is not tokens_C]
        return logits_MV * (1.0 + 1e-3 * sum(float(other.double().mean()) for other in others))


THROUGH_THE_REFEREE: tuple[type[Wrapped], ...] = (PeekingForward, SeeingItself, WindowBias, MixedBatch)
