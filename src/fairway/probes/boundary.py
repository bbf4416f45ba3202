"""No document moves the score of another before an update is due to it (rules 2.2, C10)."""

import torch
from torch import Tensor

from fairway.probes.compare import NOISE_MULTIPLE, Drift, drift, learns_from
from fairway.probes.result import Probe, judged, not_applicable
from fairway.probes.stream import Stream, flipped
from fairway.probes.subject import Subject, Trace
from fairway.score.steps import ScoreStep

ENDS = (1, 3)
"""How many tokens at the end of a document are changed, in turn."""


def document_boundary(subject: Subject, stream: Stream, noise: float, source: torch.Generator) -> Probe:
    """Other tokens at the ends of documents: no loss of another document moves until an update is due to them.

    Two halves of the documents are changed by turns, and two documents alone, one of them scored late. Asked of
    evaluations in which no span reads across a border; others may carry a document into the next.
    """
    base = subject.run(stream)
    document_N = stream.document_N
    crossing = next(
        (
            span
            for step in base.steps
            if isinstance(step, ScoreStep)
            for span in step.spans
            if document_N[span.context] != document_N[span.stop - 2]
        ),
        None,
    )
    if crossing is not None:
        return not_applicable(
            "document-boundary",
            f"documents are not isolated: the span {tuple(crossing)} reads across the border of two",
        )
    worst, samples, until = Drift(), 0, []
    for documents in _choices(stream, base, source):
        ends = [position for i in documents for position in _end(stream, i, ENDS[samples % len(ENDS)])]
        due = due_step(base, ends)
        changed = subject.run(flipped(stream, ends, source), step_limit=due)
        worst = worst.worse(drift(base, changed, others(stream, base, documents, due)))
        samples += 1
        until.append(due)
    return judged(
        "document-boundary",
        worst.nats,
        NOISE_MULTIPLE * noise,
        unit="nats",
        samples=samples,
        because=f"the ends of documents were changed {samples} times; of {worst.losses} losses of others, up to steps"
        f" {until} of {len(base.steps)}, "
        + (f"the one at {worst.position} moved most, by {worst.nats:.3g} nats" if worst.nats else "none moved"),
    )


def due_step(trace: Trace, changed: list[int]) -> int:
    """The first step that may legally depend on the tokens at ``changed`` in other documents than theirs.

    An SGD step over them moves the weights that all share. A step of adapters over them belongs to their own
    documents; from the next batch on it counts all the same, for a method may carry on what it learned.
    """
    carried = False
    for index, step in enumerate(trace.steps):
        if isinstance(step, ScoreStep):
            if carried and step.chunk == 0:
                return index
        elif learns_from(step, changed):
            if step.what == "sgd":
                return index
            carried = True
    return len(trace.steps)


def others(stream: Stream, trace: Trace, documents: list[int], due: int) -> Tensor:
    """Losses (bool, N) of other documents before step ``due``; a document's last target is the next one's BOS."""
    document_of_target_N = stream.document_N.roll(1)
    document_of_target_N[0] = -1
    is_other_N = torch.isin(document_of_target_N, torch.tensor(documents), invert=True)
    return is_other_N & (trace.step_N >= 0) & (trace.step_N < due)


def _end(stream: Stream, document: int, tokens: int) -> list[int]:
    begin, length = stream.starts[document], stream.lengths[document]
    return list(range(begin + max(1, length - tokens), begin + length))


def _choices(stream: Stream, trace: Trace, source: torch.Generator) -> list[list[int]]:
    """Documents to change together."""
    able = [i for i, length in enumerate(stream.lengths) if length > 1]
    if len(stream.lengths) < 2 or not able:
        return []
    starts = stream.starts
    by_turn = sorted(able, key=lambda i: int(trace.step_N[starts[i] + 1]))
    mixed = [able[i] for i in torch.randperm(len(able), generator=source).tolist()]
    half = max(1, len(mixed) // 2)
    choices = [sorted(mixed[:half]), sorted(mixed[half:]), [by_turn[0]], [by_turn[len(by_turn) * 3 // 4]]]
    return [choice for choice in choices if choice and len(choice) < len(stream.lengths)]
