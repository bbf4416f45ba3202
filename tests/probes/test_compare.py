"""Which losses must stay what they were, by hand and against what really moves."""

import math
from collections.abc import Callable

import pytest
import torch

from fairway.probes.boundary import due_step
from fairway.probes.compare import Drift, drift, places, unaffected
from fairway.probes.stream import Stream, flipped, make_stream
from fairway.probes.subject import MethodSubject, Notes, Trace
from fairway.score.steps import LearnStep, PlanStep, ScoreStep
from fairway.score.windows import Span
from fairway.spec.score import DocumentLora, Method, PhasedSgd


def trace_of(size: int, steps: list[PlanStep]) -> Trace:
    notes = Notes(size, frozenset())
    for number, step in enumerate(steps):
        notes.steps.append(step)
        if isinstance(step, ScoreStep):
            for span in step.spans:
                notes.scored(span, torch.ones(span.targets), number)
    return notes.trace()


def kept(trace: Trace, changed: list[int]) -> list[int]:
    return unaffected(trace, changed).nonzero().flatten().tolist()


def test_of_its_own_step_a_flip_leaves_what_does_not_read_it() -> None:
    # Two documents of 6 and 4 inputs: chunks of 3 targets, side by side; then windows that overlap.
    trace = trace_of(10, [ScoreStep((Span(0, 1, 4), Span(6, 7, 10))), ScoreStep((Span(0, 4, 7),))])
    assert kept(trace, [2]) == [1, 7, 8, 9]
    assert kept(trace, [8]) == [1, 2, 3, 7]
    assert kept(trace, [2, 8]) == [1, 7]
    assert kept(trace, [5]) == [1, 2, 3, 4, 7, 8, 9]
    windows = trace_of(8, [ScoreStep((Span(0, 1, 5), Span(2, 5, 7))), ScoreStep((Span(4, 7, 8),))])
    assert kept(windows, [3]) == [1, 2]
    assert kept(windows, [1]) == [5, 6]


@pytest.mark.parametrize("runs", [3, 8])
def test_places_lie_in_one_step_each_early_and_late_and_never_on_a_bos(
    legal: MethodSubject, stream: Stream, runs: int
) -> None:
    base = legal.run(stream)
    found = places(stream, base, runs, 4, torch.Generator().manual_seed(1))
    assert 1 < len(found) <= runs
    steps = [{int(base.step_N[target]) for target in targets} for targets in found]
    assert all(len(each) == 1 for each in steps)
    scoring = [i for i, step in enumerate(base.steps) if isinstance(step, ScoreStep)]
    assert min(map(min, steps)) in scoring[: (len(scoring) + 1) // 2]
    assert max(map(max, steps)) in scoring[len(scoring) // 2 :]
    assert not any(bool(stream.is_bos_N[target]) for targets in found for target in targets)


def test_places_lie_before_between_and_after_the_pauses_of_a_phased_method(
    subject_of: Callable[[Method], MethodSubject], stream: Stream
) -> None:
    lora = DocumentLora(rank=2, chunk=7, batch_docs=2, lr=0.05)
    base = subject_of(PhasedSgd(lora=lora, prefix_docs=4, phases=2, chunk_tokens=16, context=8)).run(stream)
    found = places(stream, base, 8, 4, torch.Generator().manual_seed(1))
    pauses = [i for i, step in enumerate(base.steps) if isinstance(step, LearnStep) and step.what == "sgd"]
    steps = {int(base.step_N[targets[0]]) for targets in found}
    assert min(steps) < pauses[0] and max(steps) > pauses[-1]
    assert any(pauses[0] < step < pauses[-1] for step in steps)


def test_what_may_move_does_move(legal: MethodSubject, stream: Stream) -> None:
    # The mask is not empty caution: the loss of a flipped token, and of those that read it, is another one.
    base = legal.run(stream)
    source = torch.Generator().manual_seed(2)
    for targets in places(stream, base, 3, 2, source):
        changed = legal.run(flipped(stream, targets, source), step_limit=int(base.step_N[targets[0]]) + 1)
        assert all(base.losses_N[target] != changed.losses_N[target] for target in targets)


def test_a_loss_that_is_missing_differs_by_all_of_it() -> None:
    base = trace_of(4, [ScoreStep((Span(0, 1, 4),))])
    fewer = trace_of(4, [ScoreStep((Span(0, 1, 3),))])
    everywhere = torch.ones(4, dtype=torch.bool)
    assert drift(base, fewer, everywhere) == Drift(1.0, 3, 3)
    assert drift(fewer, base, everywhere) == Drift(0.0, 1, 2)
    assert drift(base, fewer, ~everywhere) == Drift()


def test_an_update_is_due_with_the_sgd_step_that_reads_the_token_or_with_the_next_batch() -> None:
    scores = ScoreStep((Span(0, 1, 4),))
    steps: list[PlanStep] = [
        scores,
        LearnStep("lora", ((1, 3),)),
        ScoreStep((Span(0, 4, 6),), chunk=1),
        ScoreStep((Span(6, 7, 9),), batch=1),
        LearnStep("sgd", ((4, 6),)),
        LearnStep("sgd", ((1, 3),)),
    ]
    trace = trace_of(10, steps)
    assert due_step(trace, [2]) == 3
    assert due_step(trace, [5]) == 4
    assert due_step(trace, [3]) == 4  # the input of target 4
    assert due_step(trace, [8]) == len(steps)


def test_a_trace_has_what_the_referee_has(legal: MethodSubject, stream: Stream) -> None:
    trace = legal.run(stream, watch=[5, 30])
    assert trace.scored_N.tolist() == [0] + [1] * stream.targets
    assert bool(trace.losses_N[0].isnan()) and math.fsum(trace.losses_N[1:].tolist()) == pytest.approx(trace.nats)
    assert trace.bytes == int(stream.bytes_N[1:].sum())
    assert set(trace.distributions) == {5, 30}
    for position, log_probs_V in trace.distributions.items():
        target = int(stream.tokens_N[position])
        assert float(log_probs_V[target]) == pytest.approx(-float(trace.losses_N[position]), abs=1e-5)
    some = legal.run(stream, step_limit=2)
    assert some.steps == trace.steps[:2]
    known = some.scored_N > 0
    assert torch.equal(known, (trace.step_N >= 0) & (trace.step_N < 2))
    assert torch.equal(some.losses_N[known], trace.losses_N[known])


def test_a_stream_of_one_token_documents_can_be_looked_at() -> None:
    stream = make_stream(torch.tensor([1, 1, 1]), torch.tensor([0, 0, 0]), vocab_size=4, bos=1)
    trace = trace_of(3, [ScoreStep((Span(0, 1, 2), Span(1, 2, 3)))])
    assert places(stream, trace, 4, 4, torch.Generator().manual_seed(1)) == []
