"""The noise floor: how far two equal runs lie apart, which all other probes are compared with."""

import torch

from fairway.probes.compare import Drift, drift, moved, places
from fairway.probes.flips import A_RUN, RUNS
from fairway.probes.result import Probe, judged
from fairway.probes.stream import Stream
from fairway.probes.subject import Remembering, Subject

MOST_NOISE = {"cpu": 0.0, "cuda": 0.05}
"""Nats by kind of device; a larger floor would hide what the other probes look for."""


def a_a(subject: Subject, stream: Stream, noise: float, source: torch.Generator) -> Probe:
    """The same run twice, from the beginning: ``measured`` is the noise floor; ``noise`` is what it may be at most.

    Losses of all targets and distributions at sampled places are compared. The second run is never a remembered one.
    """
    fresh = subject.subject if isinstance(subject, Remembering) else subject
    base = subject.run(stream)
    watch = [target for targets in places(stream, base, RUNS, A_RUN, source) for target in targets]
    told, again = subject.run(stream, watch=watch), fresh.run(stream, watch=watch)
    everywhere_N = torch.ones_like(base.scored_N, dtype=torch.bool)
    worst = drift(base, again, everywhere_N).worse(Drift(drift(again, base, everywhere_N).nats))
    distributions = [moved(told.distributions.get(target), again.distributions.get(target)) for target in watch]
    worst = worst.worse(Drift(max(distributions, default=0.0)))
    return judged(
        "a-a",
        worst.nats,
        noise,
        unit="nats",
        samples=worst.losses,
        because=f"two equal runs differ by at most {worst.nats:.3g} nats in {worst.losses} losses",
        fault="" if base.steps == again.steps else "two equal runs took different steps",
    )
