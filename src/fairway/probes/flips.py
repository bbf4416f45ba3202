"""What comes later, and the target itself, may not move a loss: future-flip, self-flip, truncation (rules 2.2, C1)."""

import math
from collections.abc import Sequence
from itertools import takewhile

import torch

from fairway.errors import RecipeError
from fairway.probes.compare import NOISE_MULTIPLE, Drift, drift, first_positions, moved, places, reads_any, unaffected
from fairway.probes.result import Probe, judged, not_applicable
from fairway.probes.stream import Stream, flipped, prefix, redrawn
from fairway.probes.subject import Subject, Trace
from fairway.score.steps import ScoreStep

RUNS = 8
A_RUN = 4
"""Tokens that one run changes at once, all of one step."""
CUTS = (0.1, 0.4, 0.8)
"""Shares of the scored steps after which the ledger is cut."""


def future_flip(subject: Subject, stream: Stream, noise: float, source: torch.Generator) -> Probe:
    """Other tokens at sampled places: every loss that stands earlier on the ledger is unchanged (C1, C3).

    Within the step that scores a changed token, the losses before it and those of spans that do not read it stand
    earlier too. Places lie early and late, within a phase's prefix and after it.
    """
    base = subject.run(stream)
    worst, samples = Drift(), 0
    for targets, changed in _flips(subject, stream, base, source):
        worst = worst.worse(drift(base, changed, unaffected(base, targets)))
        samples += len(targets)
    return judged(
        "future-flip",
        worst.nats,
        NOISE_MULTIPLE * noise,
        unit="nats",
        samples=samples,
        because=f"{samples} tokens were changed; of {worst.losses} losses that stand earlier on the ledger"
        f" {_moved_most(worst)}",
    )


def self_flip(subject: Subject, stream: Stream, noise: float, source: torch.Generator) -> Probe:
    """The distribution of a target does not move when only this target changes (C1, C2).

    Looked at where ``future_flip`` looks, if drawn by an equal generator.
    """
    base = subject.run(stream)
    flips = _flips(subject, stream, base, source)
    told = subject.run(stream, watch=[target for targets, _ in flips for target in targets])
    worst, samples, at = 0.0, 0, -1
    for targets, changed in flips:
        for target in targets:
            if reads_any(base, target, targets) or target not in told.distributions:
                continue
            samples += 1
            if (difference := moved(told.distributions[target], changed.distributions.get(target))) > worst:
                worst, at = difference, target
    if not samples:
        return not_applicable("self-flip", f"{subject.name} tells no distribution of a target that could be changed")
    words = f"the one at {at} moved most, by {worst:.3g} nats at a token" if worst else "none moved"
    return judged(
        "self-flip",
        worst,
        NOISE_MULTIPLE * noise,
        unit="nats",
        samples=samples,
        because=f"of {samples} distributions whose own target was changed {words}",
    )


def truncation(subject: Subject, stream: Stream, noise: float, source: torch.Generator) -> Probe:
    """A prefix scored alone has the losses that it has in the whole (C1).

    A prefix of the ledger: all that it does not score is redrawn, and the evaluation ends there. A prefix of the
    stream: as far as the plan of the shorter stream is that of the whole.
    """
    base = subject.run(stream)
    worst, samples = Drift(), 0
    scoring = [index for index, step in enumerate(base.steps) if isinstance(step, ScoreStep)]
    for count in sorted({scoring[math.floor(share * len(scoring))] + 1 for share in CUTS if scoring}):
        known_N = (base.step_N >= 0) & (base.step_N < count)
        alone = subject.run(redrawn(stream, ~known_N, source), step_limit=count)
        found = drift(base, alone, known_N)
        worst, samples = worst.worse(found), samples + bool(found.losses)
    for tokens in _shorter(stream):
        if (shorter := _run_like(subject, prefix(stream, tokens), base)) is None:
            continue
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(base.steps, shorter.steps, strict=False)))
        known_N = ((base.step_N >= 0) & (base.step_N < same))[:tokens]
        found = drift(first_positions(base, tokens), shorter, known_N)
        worst, samples = worst.worse(found), samples + bool(found.losses)
    return judged(
        "truncation",
        worst.nats,
        NOISE_MULTIPLE * noise,
        unit="nats",
        samples=samples,
        because=f"{samples} prefixes were scored alone; of {worst.losses} losses {_moved_most(worst)}",
    )


def _flips(subject: Subject, stream: Stream, base: Trace, source: torch.Generator) -> Sequence[tuple[list[int], Trace]]:
    """Targets that were changed, and the run that ended with the step that scores them."""
    return [
        (
            targets,
            subject.run(flipped(stream, targets, source), watch=targets, step_limit=int(base.step_N[targets[0]]) + 1),
        )
        for targets in places(stream, base, RUNS, A_RUN, source)
    ]


def _shorter(stream: Stream) -> list[int]:
    """One token less, and two thirds of the stream."""
    whole = stream.tokens_N.numel()
    return sorted({size for size in (whole - 1, 2 * whole // 3) if size >= 2})


def _run_like(subject: Subject, stream: Stream, base: Trace) -> Trace | None:
    """The run of a shorter stream, if it begins as the whole one does."""
    try:
        if subject.run(stream, step_limit=1).steps[:1] != base.steps[:1]:
            return None
        return subject.run(stream)
    except RecipeError:  # a plan that needs more documents than are left
        return None


def _moved_most(worst: Drift) -> str:
    return f"the one at {worst.position} moved most, by {worst.nats:.3g} nats" if worst.nats else "none moved"
