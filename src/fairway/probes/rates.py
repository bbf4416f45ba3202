"""With update steps of size zero nothing is learned, so the score is the static one (rules 2.2, C3)."""

import torch

from fairway.probes.compare import NOISE_MULTIPLE, drift
from fairway.probes.result import Probe, judged, not_applicable
from fairway.probes.stream import Stream
from fairway.probes.subject import Subject
from fairway.score.steps import LearnStep


def zero_rate(subject: Subject, stream: Stream, noise: float, source: torch.Generator) -> Probe:
    """Steps of size zero give the static losses, and so do steps of any size before the first of them.

    What differs would have been adapted on a path that is not on the ledger. The static score is that of the same
    weights over the same spans. ``source`` draws nothing: every loss is compared.
    """
    if (static := subject.static()) is None:
        return not_applicable(
            "zero-rate", f"{subject.name} learns nothing, so it has no steps whose size could be zero"
        )
    fixed = static.run(stream)
    base = subject.run(stream)
    first = next((i for i, step in enumerate(base.steps) if isinstance(step, LearnStep)), len(base.steps))
    before = drift(base, fixed, base.step_N < first)
    worst, words = before, [f"{before.losses} before the first update"]
    if (still := subject.still()) is not None:
        stood = still.run(stream)
        found = drift(stood, fixed, torch.ones_like(stood.scored_N, dtype=torch.bool))
        worst = worst.worse(found)
        words.insert(0, f"{found.losses} with steps of size zero")
    return judged(
        "zero-rate",
        worst.nats,
        NOISE_MULTIPLE * noise,
        unit="nats",
        samples=worst.losses,
        because=f"against the static score of the same spans, of losses ({' and '.join(words)}) "
        + (f"the one at {worst.position} is off most, by {worst.nats:.3g} nats" if worst.nats else "none is off"),
    )
