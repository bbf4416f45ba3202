"""All probes over one subject, in order."""

from collections.abc import Callable, Iterator

from fairway.probes.boundary import document_boundary
from fairway.probes.flips import future_flip, self_flip, truncation
from fairway.probes.noise import MOST_NOISE, a_a
from fairway.probes.plans import order
from fairway.probes.rates import zero_rate
from fairway.probes.result import Probe
from fairway.probes.stream import Stream
from fairway.probes.subject import Remembering, Subject
from fairway.probes.sums import sum_to_one, uniform_stream
from fairway.runtime.seeding import generator

SUITE: tuple[tuple[Callable[..., Probe], str], ...] = (
    (future_flip, "flips"),
    (self_flip, "flips"),
    (truncation, "truncation"),
    (document_boundary, "boundary"),
    (sum_to_one, "flips"),
    (uniform_stream, "contents"),
    (order, "contents"),
    (zero_rate, "rates"),
)
"""Each probe after A/A, and what its generator is called: those of one name look at the same runs."""


def probe_all(subject: Subject, stream: Stream, *, seed: int, device: str = "cpu") -> Iterator[Probe]:
    """Every probe's verdict as it comes, A/A first: its ``measured`` is the noise floor of the others.

    ``device`` is the kind of device that evaluates, which settles how much noise there may be.
    """
    remembered = Remembering(subject)
    first = a_a(remembered, stream, MOST_NOISE[device], generator(seed, "probe.flips"))
    yield first
    for probe, tag in SUITE:
        yield probe(remembered, stream, first.measured, generator(seed, f"probe.{tag}"))
