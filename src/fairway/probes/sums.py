"""Predictions are distributions over the whole vocabulary: sum-to-one, uniform stream (rules 2.2, C2)."""

import math

import torch

from fairway.probes.compare import places
from fairway.probes.flips import A_RUN, RUNS
from fairway.probes.result import Probe, judged, not_applicable
from fairway.probes.stream import Stream, redrawn
from fairway.probes.subject import Subject

MOST_LOG_SUM = 1e-4
"""Nats by which a distribution's log-sum may be off: float32 over some thousand tokens is off by 1e-6."""
STANDARD_ERRORS = 4


def sum_to_one(subject: Subject, stream: Stream, noise: float, source: torch.Generator) -> Probe:
    """The probabilities by which a target is scored sum to one over the vocabulary, whatever was mixed in (C2).

    Among them stands that of the target as it was counted. Looked at where the flips look, if drawn by an equal
    generator.
    """
    base = subject.run(stream)
    watch = [target for targets in places(stream, base, RUNS, A_RUN, source) for target in targets]
    log_sums = subject.run(stream, watch=watch).log_sums_N[watch]
    told = log_sums[~log_sums.isnan()]
    if not told.numel():
        return not_applicable("sum-to-one", f"{subject.name} tells no distribution at a sampled target")
    worst = float(told[told.abs().argmax()])
    return judged(
        "sum-to-one",
        min(abs(worst), 1e9),
        MOST_LOG_SUM,
        unit="nats",
        samples=told.numel(),
        because=f"of {told.numel()} sampled distributions, the sum that is farthest from one has a logarithm of"
        f" {worst:.3g}",
    )


def uniform_stream(subject: Subject, stream: Stream, noise: float, source: torch.Generator) -> Probe:
    """On independent, evenly drawn tokens no code beats their entropy (C2; all that is drawn is told below).

    The alphabet is the vocabulary without BOS, whose places are known; BOS targets are left out of the mean. It may be
    smaller than the logarithm of the alphabet by four standard errors, and no more.
    """
    drawn = redrawn(stream, torch.ones_like(stream.is_bos_N), source)
    trace = subject.run(drawn)
    counted_N = (trace.scored_N > 0) & ~drawn.is_bos_N
    losses = trace.losses_N[counted_N].to(torch.float64)
    if losses.numel() < 2:
        return not_applicable("uniform-stream", "fewer than two targets were scored")
    alphabet = stream.vocab_size - 1
    error = float(losses.std()) / math.sqrt(losses.numel())
    mean, entropy = float(losses.mean()), math.log(alphabet)
    return judged(
        "uniform-stream",
        mean,
        entropy - STANDARD_ERRORS * error - noise,
        unit="nats",
        samples=losses.numel(),
        because=f"{losses.numel()} tokens drawn evenly from {alphabet} cost {mean:.4f} nats each, standard error"
        f" {error:.4f}; their entropy is {entropy:.4f}",
        at_least=True,
    )
