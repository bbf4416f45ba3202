"""Where probes look, and which losses must stay what they were."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fairway.probes.stream import Stream
from fairway.probes.subject import Trace
from fairway.score.steps import LearnStep, ScoreStep

NOISE_MULTIPLE = 4
"""Limits are so many noise floors: the largest of some thousand differences is not the largest there is."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far losses moved."""

    nats: float = 0.0
    """The largest difference; a loss that is not there counts as 0."""
    position: int = -1
    losses: int = 0
    """How many were compared."""

    def worse(self, other: "Drift") -> "Drift":
        """The larger of two, over the losses of both."""
        larger = other if other.nats > self.nats else self
        return Drift(larger.nats, larger.position, self.losses + other.losses)


def drift(base: Trace, changed: Trace, where_N: Tensor) -> Drift:
    """The largest difference in nats of losses at ``where_N`` (bool), where the first trace has them."""
    where_N = where_N & (base.scored_N > 0)
    count = int(where_N.sum())
    if not count:
        return Drift()
    difference_N = (base.losses_N.nan_to_num(0.0) - changed.losses_N.nan_to_num(0.0)).abs()
    position = int(torch.where(where_N, difference_N, -1.0).argmax())
    return Drift(float(difference_N[position]), position, count)


def moved(base_V: Tensor | None, changed_V: Tensor | None) -> float:
    """Largest difference of two lists of log-probabilities, in nats; one that is missing differs in all."""
    if base_V is None or changed_V is None:
        present = changed_V if base_V is None else base_V
        return 0.0 if present is None else float(present.abs().max())
    return float((base_V - changed_V).abs().max())


def unaffected(trace: Trace, changed: Collection[int]) -> Tensor:
    """Losses (bool, N) that may not move when the tokens at ``changed`` do (rules 2.2, C1 and C3).

    These are the losses of steps before the first that scores one of them, and in this step those of targets with
    no changed token among their own span's inputs before them. The targets themselves are not among them: another
    token has another loss.
    """
    scored = {int(trace.step_N[position]) for position in changed}
    assert scored and min(scored) >= 0, "only what is scored is changed"
    first = min(scored)
    keeps_N = (trace.step_N >= 0) & (trace.step_N < first)
    step = trace.steps[first]
    assert isinstance(step, ScoreStep), "learning scores nothing"
    for context, start, stop in step.spans:
        end = min((position for position in changed if position >= context), default=stop)
        keeps_N[start : min(end, stop)] = True
    return keeps_N & (trace.step_N <= first)


def reads_any(trace: Trace, target: int, others: Collection[int]) -> bool:
    """Whether any of ``others`` is an input of ``target`` in the span that scores it."""
    step = trace.steps[int(trace.step_N[target])]
    assert isinstance(step, ScoreStep), "learning scores nothing"
    return any(
        start <= target < stop and context <= other < target for context, start, stop in step.spans for other in others
    )


def first_positions(trace: Trace, tokens: int) -> Trace:
    """A trace of the stream's first ``tokens`` positions alone."""
    return replace(
        trace,
        losses_N=trace.losses_N[:tokens],
        step_N=trace.step_N[:tokens],
        scored_N=trace.scored_N[:tokens],
        log_sums_N=trace.log_sums_N[:tokens],
    )


def places(stream: Stream, trace: Trace, runs: int, a_run: int, source: torch.Generator) -> list[list[int]]:
    """Targets to change, ``runs`` lists of at most ``a_run``, each list within one step, at most one in a span.

    Steps are drawn from the beginning and the end of each stretch between two passes of SGD, or evenly from these
    where there are more of them than ``runs``: before, within and after the phases of a method.
    """
    stretches: list[list[int]] = [[]]
    for index, step in enumerate(trace.steps):
        if isinstance(step, ScoreStep):
            stretches[-1].append(index)
        elif step.what == "sgd" and stretches[-1]:
            stretches.append([])
    halves = [half for each in stretches for half in (each[: len(each) // 2], each[len(each) // 2 :]) if half]
    if not halves:
        return []
    chosen = [halves[i * (len(halves) - 1) // max(1, runs - 1)] for i in range(runs)]
    if len(halves) < runs:
        chosen = [halves[i % len(halves)] for i in range(runs)]
    found, taken = [], set[int]()
    for half in chosen:
        fresh = [index for index in half if index not in taken]
        if not fresh:
            continue
        index = _drawn(fresh, source)
        taken.add(index)
        if targets := _one_a_span(stream, trace, index, a_run, source):
            found.append(targets)
    return sorted(found, key=lambda targets: int(trace.step_N[targets[0]]))


def _one_a_span(stream: Stream, trace: Trace, index: int, most: int, source: torch.Generator) -> list[int]:
    step = trace.steps[index]
    assert isinstance(step, ScoreStep)
    is_bos_N = stream.is_bos_N
    targets: list[int] = []
    for number in torch.randperm(len(step.spans), generator=source).tolist():
        _, start, stop = step.spans[number]
        own = [t for t in range(start, stop) if not is_bos_N[t] and int(trace.step_N[t]) == index]
        if own and len(targets) < most:
            targets.append(_drawn(own, source))
    return sorted(targets)


def _drawn(values: Sequence[int], source: torch.Generator) -> int:
    return values[int(torch.randint(0, len(values), (), generator=source))]


def learns_from(step: LearnStep, positions: Collection[int]) -> bool:
    """Whether a step has any of ``positions`` among its targets or their inputs."""
    return any(start - 1 <= position < stop for start, stop in step.spans for position in positions)
