"""What probes look at: something that evaluates a stream and tells what it did, and the real path as one of them."""

import hashlib
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.probes.stream import Stream, digest
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.score.bpb import Tally
from fairway.score.budget import Watch
from fairway.score.invalid import AheadReferee
from fairway.score.ledger import Ledger
from fairway.score.passes import AheadEvaluator
from fairway.score.referee import Evaluator, Referee
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """What one evaluation did, by position of the stream (N) and by step of the ledger."""

    losses_N: Tensor
    """float32: nats of each target, as they count; NaN where never scored (position 0 always)."""
    step_N: Tensor
    """int64: the step, an index into ``steps``, that first scored the target; -1 where never."""
    scored_N: Tensor
    """int64: how often it was scored."""
    steps: tuple[PlanStep, ...]
    """What was done, in order."""
    log_sums_N: Tensor
    """float32: log-sum-exp over the vocabulary of the log-probabilities used, at the positions asked for (0 if they
    are a distribution); NaN elsewhere."""
    nats: float
    bytes: int
    """The totals that the evaluation claims for what it scored."""
    distributions: Mapping[int, Tensor]
    """Log-probabilities ``(V,)`` of the targets asked for, before they were shown."""


@runtime_checkable
class Subject(Protocol):
    """Evaluates streams, from the same beginning each time."""

    @property
    def name(self) -> str:
        """How it is called in messages."""
        ...

    def run(self, stream: Stream, *, watch: Collection[int] = (), step_limit: int | None = None) -> Trace:
        """Evaluate, and end after ``step_limit`` steps if there are more; ``watch``: whose distributions to keep."""
        ...

    def still(self) -> "Subject | None":
        """The same with every step of size zero; None if it learns nothing."""
        ...

    def static(self) -> "Subject | None":
        """The same weights without adaptation, same spans where that has a meaning; None if it learns nothing."""
        ...


class Stopped(Exception):  # noqa: N818 - no error: the evaluation did all that was asked for
    """The evaluation has taken as many steps as were asked for."""


class StepWatch(Watch):
    """A clock without a budget, which ends the evaluation after so many steps."""

    def __init__(self, step_limit: int | None, events: EventLog) -> None:
        super().__init__(math.inf, events)
        self._steps_left = step_limit

    def took(self, step: PlanStep, *, together: bool = False) -> None:
        """A step is done; ``Stopped`` if it was the last that was asked for."""
        if self._steps_left is not None:
            self._steps_left -= 1
            if self._steps_left <= 0:
                raise Stopped


@dataclass(slots=True)
class Notes:
    """A trace in the making."""

    size: int
    watch: frozenset[int]
    steps: list[PlanStep] = field(default_factory=list)
    nats: list[float] = field(default_factory=list)
    bytes: int = 0
    distributions: dict[int, Tensor] = field(default_factory=dict)
    losses_N: Tensor = field(init=False)
    step_N: Tensor = field(init=False)
    scored_N: Tensor = field(init=False)
    log_sums_N: Tensor = field(init=False)

    def __post_init__(self) -> None:
        """Nothing is scored yet."""
        self.losses_N = torch.full((self.size,), math.nan)
        self.log_sums_N = torch.full((self.size,), math.nan)
        self.step_N = torch.full((self.size,), -1)
        self.scored_N = torch.zeros(self.size, dtype=torch.int64)

    def scored(self, span: Span, losses_M: Float[Tensor, " M"], step: int) -> None:
        """One span of step ``step`` is on the ledger."""
        rows = slice(span.start, span.stop)
        self.losses_N[rows] = losses_M.detach().to("cpu", torch.float32)
        self.step_N[rows] = torch.where(self.step_N[rows] < 0, step, self.step_N[rows])
        self.scored_N[rows] += 1

    def used(self, position: int, log_probs_V: Float[Tensor, " V"], loss: float, target: int) -> None:
        """What the target at ``position`` was predicted by; its own entry is replaced by the loss that counts."""
        row_V = log_probs_V.detach().to("cpu", torch.float64)
        self.distributions[position] = row_V.to(torch.float32)
        counted_V = row_V.clone()
        counted_V[target] = -loss
        self.log_sums_N[position] = torch.logsumexp(counted_V, 0)

    def trace(self) -> Trace:
        """The trace as it stands."""
        return Trace(
            losses_N=self.losses_N,
            step_N=self.step_N,
            scored_N=self.scored_N,
            steps=tuple(self.steps),
            log_sums_N=self.log_sums_N,
            nats=math.fsum(self.nats),
            bytes=self.bytes,
            distributions=dict(self.distributions),
        )


class _Listening(Referee):
    """A referee that takes notes of what goes onto the ledger; everything else it leaves as it is."""

    notes: Notes

    def _losses(
        self, number: int, spans: Sequence[Span], logits: Sequence[Float[Tensor, "_ V"]]
    ) -> Float[Tensor, " M"]:
        losses = super()._losses(number, spans, logits)
        for span, losses_M, logits_MV in zip(
            spans, losses.split([span.targets for span in spans]), logits, strict=True
        ):
            for position in self.notes.watch.intersection(range(span.start, span.stop)):
                row = position - span.start
                log_probs_V = logits_MV[row].detach().to("cpu", torch.float64).log_softmax(-1)
                self.notes.used(position, log_probs_V, float(losses_M[row]), int(self._tokens_N[position]))
        return losses

    def _enter(self, number: int, step: ScoreStep, losses: Float[Tensor, " M"], ledger: Ledger, tally: Tally) -> None:
        super()._enter(number, step, losses, ledger, tally)
        for span, losses_M in zip(step.spans, losses.split([span.targets for span in step.spans]), strict=True):
            self.notes.scored(span, losses_M, len(self.notes.steps))
        self.notes.steps.append(step)
        self.notes.nats, self.notes.bytes = [tally.nats], tally.size_bytes

    def _enter_learned(self, step: LearnStep, ledger: Ledger) -> None:
        super()._enter_learned(step, ledger)
        self.notes.steps.append(step)


class _ListeningAhead(_Listening, AheadReferee):
    """The same over the referee of what is never legal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodSubject:
    """Drives a method of evaluation by the real referee, as ``score.evaluate`` does with one process.

    ``make`` gives a fresh evaluator each time. ``make_still`` and ``make_static`` likewise, for the probe of updates of
    size zero; without them there is nothing that learns.
    """

    name: str
    make: Callable[[], Evaluator]
    device: torch.device = torch.device("cpu")
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What describes the method on the ledger."""
    make_still: Callable[[], Evaluator] | None = None
    make_static: Callable[[], Evaluator] | None = None

    def run(self, stream: Stream, *, watch: Collection[int] = (), step_limit: int | None = None) -> Trace:
        """One evaluation by the referee; ``RefereeError`` where it refuses the method."""
        method = self.make()
        tokens_N = stream.tokens_N.to(self.device)
        referee: _Listening
        if isinstance(method, AheadEvaluator):
            ranks = Ranks(0, 1, self.device)
            referee = _ListeningAhead(tokens_N, stream.bytes_N, stream.lengths, ranks=ranks, name=self.name)
        else:
            referee = _Listening(tokens_N, stream.bytes_N, stream.lengths)
        referee.notes = Notes(stream.tokens_N.numel(), frozenset(watch))
        with Ledger(None) as ledger, EventLog(None, stage="probe") as events:
            try:
                referee.run(
                    method,
                    ledger,
                    settings=dict(self.settings),
                    artifact_sha256="0" * 64,
                    watch=StepWatch(step_limit, events),
                )
            except Stopped:
                pass
        return referee.notes.trace()

    def still(self) -> "MethodSubject | None":
        """Every step of size zero."""
        return self._variant("with steps of size zero", self.make_still)

    def static(self) -> "MethodSubject | None":
        """No step at all."""
        return self._variant("without adaptation", self.make_static)

    def _variant(self, words: str, make: Callable[[], Evaluator] | None) -> "MethodSubject | None":
        if make is None:
            return None
        return replace(self, name=f"{self.name} {words}", make=make, make_still=None, make_static=None)


@dataclass(frozen=True, slots=True)
class Remembering:
    """A subject of which each different run is made once. Two equal runs are then one: A/A needs the subject itself."""

    subject: Subject
    traces: dict[str, Trace] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its subject's."""
        return self.subject.name

    def run(self, stream: Stream, *, watch: Collection[int] = (), step_limit: int | None = None) -> Trace:
        """The trace of this very run, remembered or made now."""
        key = hashlib.sha256(repr((digest(stream), sorted(watch), step_limit)).encode()).hexdigest()
        if key not in self.traces:
            self.traces[key] = self.subject.run(stream, watch=watch, step_limit=step_limit)
        return self.traces[key]

    def still(self) -> "Subject | None":
        """Its subject's."""
        return self.subject.still()

    def static(self) -> "Subject | None":
        """Its subject's."""
        return self.subject.static()
