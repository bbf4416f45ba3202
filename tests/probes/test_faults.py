"""One fault for each way in which an evaluation may be handed to the probes: through the referee, and past it."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fairway.probes.boundary import document_boundary
from fairway.probes.compare import NOISE_MULTIPLE
from fairway.probes.flips import future_flip, self_flip
from fairway.probes.noise import a_a
from fairway.probes.plans import order
from fairway.probes.rates import zero_rate
from fairway.probes.result import Probe
from fairway.probes.stream import Stream
from fairway.probes.subject import MethodSubject, Remembering, Subject, Trace
from fairway.probes.sums import sum_to_one, uniform_stream
from fairway.score.steps import ScoreStep
from fairway.spec.score import DocumentLora, Flat, Method

LORA = DocumentLora(rank=2, chunk=7, batch_docs=2, lr=0.05)


def source() -> torch.Generator:
    return torch.Generator().manual_seed(4)


class Wrapped:
    """A method whose logits are changed on their way to the referee."""

    def __init__(self, method: Any, change: Callable[[ScoreStep, Sequence[Tensor], Sequence[Tensor]], list[Tensor]]):
        self._method, self._change = method, change
        self.plan, self.update = method.plan, method.update

    def predict(self, step: ScoreStep, inputs: Sequence[Tensor]) -> list[Tensor]:
        return self._change(step, inputs, self._method.predict(step, inputs))


def wrapped(subject: MethodSubject, change: Any) -> MethodSubject:
    return replace(subject, make=lambda: Wrapped(subject.make(), change))


def reads_the_next_input(step: ScoreStep, inputs: Sequence[Tensor], logits: Sequence[Tensor]) -> list[Tensor]:
    """The input after the last known token is the target itself."""
    told = []
    for span, tokens, logits_MV in zip(step.spans, inputs, logits, strict=True):
        after_M = torch.roll(tokens, -1)[-span.targets :]
        gate_M = (after_M % 2 == 0).float()
        gate_M[-1] = 0.0
        told.append(logits_MV * (1.0 + 0.1 * gate_M[:, None]))
    return told


def knows_its_batch_mates(step: ScoreStep, inputs: Sequence[Tensor], logits: Sequence[Tensor]) -> list[Tensor]:
    """Counts of the tokens at the ends of all documents of the step move each prediction."""
    ends_V = torch.bincount(torch.stack([tokens[-1] for tokens in inputs]), minlength=logits[0].shape[-1])
    return [logits_MV + 0.01 * ends_V for logits_MV in logits]


def always_the_same_shift(step: ScoreStep, inputs: Sequence[Tensor], logits: Sequence[Tensor]) -> list[Tensor]:
    """Harmless: no token decides it."""
    return [logits_MV + torch.linspace(0.0, 0.1, logits_MV.shape[-1]) for logits_MV in logits]


def test_a_gate_that_reads_its_target_moves_the_distribution(
    subject_of: Callable[[Method], MethodSubject], stream: Stream
) -> None:
    for method in (Flat(), LORA):
        probe = self_flip(wrapped(subject_of(method), reads_the_next_input), stream, 0.0, source())
        assert probe.verdict == "failed" and probe.measured > 0.01, probe
        fair = self_flip(wrapped(subject_of(method), always_the_same_shift), stream, 0.0, source())
        assert fair.verdict == "passed" and fair.samples == probe.samples


def test_what_batch_mates_tell_each_other_crosses_a_border(
    subject_of: Callable[[Method], MethodSubject], stream: Stream
) -> None:
    for method in (Flat(), LORA):
        leaky = wrapped(subject_of(method), knows_its_batch_mates)
        assert document_boundary(leaky, stream, 0.0, source()).verdict == "failed"
        assert future_flip(leaky, stream, 0.0, source()).verdict == "failed"


def test_what_is_adapted_off_the_ledger_shows_where_steps_have_no_size(
    subject_of: Callable[[Method], MethodSubject], stream: Stream
) -> None:
    honest = subject_of(LORA)
    assert honest.make_still is not None
    hidden = replace(
        honest,
        make=lambda: Wrapped(honest.make(), always_the_same_shift),
        make_still=lambda: Wrapped(honest.make_still(), always_the_same_shift),
    )
    probe = zero_rate(hidden, stream, 0.0, source())
    assert probe.verdict == "failed" and "is off most" in probe.because
    assert zero_rate(honest, stream, 0.0, source()).verdict == "passed"


@dataclass(frozen=True)
class PastTheReferee:
    """A script of its own: what it tells of a fair run, changed."""

    fair: Subject
    change: Callable[[Trace, Stream], Trace]
    name: str = "script"

    def run(self, stream: Stream, *, watch: Collection[int] = (), step_limit: int | None = None) -> Trace:
        return self.change(self.fair.run(stream, watch=watch, step_limit=step_limit), stream)

    def still(self) -> Subject | None:
        return None

    def static(self) -> Subject | None:
        return None


def adds_mass(trace: Trace, stream: Stream) -> Trace:
    """A cache that multiplies what it has seen by e^2 and divides by nothing."""
    losses_N = trace.losses_N - 2.0
    return replace(
        trace,
        losses_N=losses_N,
        log_sums_N=trace.log_sums_N + 2.0,
        nats=float(losses_N[1:].to(torch.float64).nansum()),
    )


def skips(trace: Trace, stream: Stream) -> Trace:
    """The hardest target is left out, and its loss from the claim."""
    worst = int(trace.losses_N.nan_to_num(0.0).argmax())
    scored_N, losses_N = trace.scored_N.clone(), trace.losses_N.clone()
    nats = trace.nats - float(losses_N[worst])
    scored_N[worst], losses_N[worst] = 0, float("nan")
    return replace(trace, scored_N=scored_N, losses_N=losses_N, nats=nats)


def claims_less(trace: Trace, stream: Stream) -> Trace:
    return replace(trace, nats=0.99 * trace.nats)


def counts_more_bytes(trace: Trace, stream: Stream) -> Trace:
    return replace(trace, bytes=trace.bytes + 1)


def scores_again(trace: Trace, stream: Stream) -> Trace:
    scored_N = trace.scored_N.clone()
    scored_N[9] += 1
    return replace(trace, scored_N=scored_N)


def starts_by_content(trace: Trace, stream: Stream) -> Trace:
    turn = int(stream.tokens_N.sum()) % len(trace.steps)
    return replace(trace, steps=trace.steps[turn:] + trace.steps[:turn])


def test_a_cache_that_is_not_normalised_beats_what_no_code_can(
    subject_of: Callable[[Method], MethodSubject], stream: Stream
) -> None:
    script = PastTheReferee(subject_of(Flat()), adds_mass)
    probe = sum_to_one(script, stream, 0.0, source())
    assert probe.verdict == "failed" and probe.measured == pytest.approx(2.0)
    assert uniform_stream(script, stream, 0.0, source()).verdict == "failed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (skips, "1 of 57 targets were never scored"),
        (claims_less, "are claimed"),
        (counts_more_bytes, "bytes"),
        (scores_again, "1 targets were scored more than once, the first at 9"),
        (starts_by_content, "the plan differs from step 0"),
    ],
)
def test_accounts_that_do_not_add_up_are_told(
    change: Any, words: str, subject_of: Callable[[Method], MethodSubject], stream: Stream
) -> None:
    probe = order(PastTheReferee(subject_of(Flat()), change), stream, 0.0, source())
    assert probe.verdict == "failed" and words in probe.because, probe.because


@dataclass(frozen=True)
class Noisy(PastTheReferee):
    """Each run differs from the last one, by as much as a busy GPU's."""

    drawn: torch.Generator = torch.Generator().manual_seed(0)

    def run(self, stream: Stream, *, watch: Collection[int] = (), step_limit: int | None = None) -> Trace:
        trace = self.fair.run(stream, watch=watch, step_limit=step_limit)
        noise_N = 1e-3 * torch.rand(trace.losses_N.shape, generator=self.drawn)
        return replace(trace, losses_N=trace.losses_N + noise_N)


def test_noise_is_measured_though_runs_are_remembered_and_sets_the_other_limits(
    subject_of: Callable[[Method], MethodSubject], stream: Stream
) -> None:
    noisy = Remembering(Noisy(subject_of(Flat()), skips))
    floor: Probe = a_a(noisy, stream, 0.05, source())
    assert floor.verdict == "passed" and 1e-4 < floor.measured < 1e-3
    assert a_a(noisy, stream, 0.0, source()).verdict == "failed"
    flip = future_flip(noisy, stream, floor.measured, source())
    assert flip.verdict == "passed" and flip.limit == NOISE_MULTIPLE * floor.measured and flip.measured > 0
    leaky = Remembering(Noisy(wrapped(subject_of(Flat()), knows_its_batch_mates), skips))
    assert future_flip(leaky, stream, floor.measured, source()).verdict == "failed"
