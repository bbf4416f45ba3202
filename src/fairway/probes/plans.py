"""What is done, in which order, and how it adds up: a function of lengths alone (rules 2.2, C1, C3, C4, C5)."""

import math
from collections.abc import Iterator

import torch

from fairway.errors import RefereeError
from fairway.probes.result import Probe, judged
from fairway.probes.stream import Stream, permuted, redrawn
from fairway.probes.subject import Subject, Trace
from fairway.score.referee import check_plan

RELATIVE = 1e-6
"""Share by which a claimed total may differ from the sum of the losses, which are float32."""


def order(subject: Subject, stream: Stream, noise: float, source: torch.Generator) -> Probe:
    """The plan is a function of lengths alone, fair and whole: other contents of equal lengths, an equal plan.

    Contents are drawn anew (where ``uniform_stream`` has an equal generator, these are its) and permuted. Besides,
    each target is scored once and before it is learned from, and the totals that are claimed are those of the losses
    and of the bytes.
    """
    base = subject.run(stream)
    faults = list(accounts(stream, base))
    runs = {
        "drawn anew": redrawn(stream, torch.ones_like(stream.is_bos_N), source),
        "permuted": permuted(stream, source),
    }
    for words, other in runs.items():
        if (steps := subject.run(other).steps) != base.steps:
            same = next((i for i, (a, b) in enumerate(zip(steps, base.steps, strict=False)) if a != b), len(steps))
            faults.append(f"with contents {words} the plan differs from step {same} on")
    return judged(
        "order",
        float(len(faults)),
        0.0,
        unit="faults",
        samples=len(runs) + 1,
        because="; ".join(faults)
        or f"the plan of {len(base.steps)} steps is that of {len(runs)} other contents of equal lengths,"
        f" and scores each of {stream.targets} targets once",
    )


def accounts(stream: Stream, trace: Trace) -> Iterator[str]:
    """What is wrong with a whole evaluation's accounts, a sentence each."""
    scored_N = trace.scored_N[1:]
    if missing := int((scored_N == 0).sum()):
        yield f"{missing} of {stream.targets} targets were never scored, the first at {int(scored_N.argmin()) + 1}"
    if again := int((scored_N > 1).sum()):
        yield f"{again} targets were scored more than once, the first at {int((scored_N > 1).int().argmax()) + 1}"
    try:
        check_plan(trace.steps, stream.lengths)
    except RefereeError as error:
        yield str(error)
    nats = math.fsum(trace.losses_N[1:].nan_to_num(0.0).tolist())
    if not math.isclose(nats, trace.nats, rel_tol=RELATIVE):
        yield f"the losses add up to {nats:.6g} nats, {trace.nats:.6g} are claimed"
    if (size_bytes := int(stream.bytes_N[1:].sum())) != trace.bytes:
        yield f"the targets stand for {size_bytes} bytes, {trace.bytes} are claimed"
