"""How often a rule for claims says yes, by simulation and, where noise is normal, exactly.

The rules are those in use (rules 1.7): the written one asks for a gain above 0.005 nats that is shown at p < 0.01; the
audit of 2026-04-28 (#1902) asked for p < 0.25 that there is any gain. The test is Welch's, one-sided, as the judge
computes it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from fairway.studies.resampling import Floats

Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]
"""Noise of so many seeds; mean 0, standard deviation 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is asked of a claim, in nats."""

    key: str
    """What numbers are called by."""
    name: str
    least_gain: float
    """The mean must be lower by more than this."""
    tested_gain: float
    """The gain that the test's null hypothesis grants."""
    p_max: float


WRITTEN = Rule(
    key="written",
    name="gain > 0.005 and p < 0.01 against a gain of 0.005",
    least_gain=0.005,
    tested_gain=0.005,
    p_max=0.01,
)
EQUAL_MEANS = Rule(
    key="equal_means", name="gain > 0.005 and p < 0.01 against no gain", least_gain=0.005, tested_gain=0.0, p_max=0.01
)
AUDIT = Rule(key="audit", name="p < 0.25 against no gain", least_gain=0.0, tested_gain=0.0, p_max=0.25)
RULES = (WRITTEN, EQUAL_MEANS, AUDIT)
_SHARES = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """How the runs of a claim come about."""

    key: str
    name: str
    noise: Draw
    spread: float = 1.0
    """Standard deviation of a seed, as a multiple of the predecessor's."""
    spare: int = 0
    """Runs beyond those that are reported, the best ones."""
    attempts: int = 1
    """Configurations that are tried; the claim stands if any is accepted."""


def normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Normal noise."""
    return generator.standard_normal(shape)


def heavy(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Student's with 3 degrees of freedom, brought to a standard deviation of 1."""
    return generator.standard_t(3, shape) / math.sqrt(3.0)


def skewed(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Exponential, towards worse scores: most seeds are alike, some go wrong."""
    return generator.standard_exponential(shape) - 1.0


CLAIMANTS = (
    Claimant(key="plain", name="normal", noise=normal),
    Claimant(key="heavy", name="heavy tails (t, 3 degrees)", noise=heavy),
    Claimant(key="skewed", name="skewed (exponential)", noise=skewed),
    Claimant(key="wider", name="normal, twice the predecessor's spread", noise=normal, spread=2.0),
    Claimant(key="narrower", name="normal, a quarter of it", noise=normal, spread=0.25),
    Claimant(key="best_runs", name="normal, the best reported of 2 more runs", noise=normal, spare=2),
    Claimant(key="best_attempt", name="normal, best of 5 attempts", noise=normal, attempts=5),
)


def welch_p(new_SN: Floats, old_SN: Floats, margin: float) -> Floats:
    """One-sided p of each row that ``new`` is lower than ``old`` by more than ``margin``, as ``verify.statistics``."""
    gain = old_SN.mean(-1) - new_SN.mean(-1)
    new, old = (each.var(-1, ddof=1) / each.shape[-1] for each in (new_SN, old_SN))
    part = new / (new + old)
    degrees = 1.0 / (part**2 / (new_SN.shape[-1] - 1) + (1.0 - part) ** 2 / (old_SN.shape[-1] - 1))
    return np.asarray(special.stdtr(degrees, (margin - gain) / np.sqrt(new + old)), dtype=np.float64)


def accepts(rule: Rule, new_SN: Floats, old_SN: Floats) -> NDArray[np.bool_]:
    """What a rule says of each row: scores of the new runs and of the old ones, in nats."""
    gain = old_SN.mean(-1) - new_SN.mean(-1)
    return (gain > rule.least_gain) & (welch_p(new_SN, old_SN, rule.tested_gain) < rule.p_max)


def share_accepted(
    rule: Rule, claimant: Claimant, *, gain: float, spread: float, seeds: int, samples: int, seed: int
) -> float:
    """Share of simulated claims that a rule accepts when the true gain is ``gain`` nats.

    ``spread`` is the standard deviation of one seed of the predecessor, in nats; ``seeds`` are those of each side.
    """
    generator = np.random.default_rng(seed)
    old_SN = spread * claimant.noise(generator, (samples, seeds))
    accepted = np.zeros(samples, dtype=np.bool_)
    for _ in range(claimant.attempts):
        drawn = spread * claimant.spread * claimant.noise(generator, (samples, seeds + claimant.spare)) - gain
        accepted |= accepts(rule, np.sort(drawn, axis=-1)[:, :seeds], old_SN)
    return float(accepted.mean())


def power(rule: Rule, *, gain: float, spread: float, seeds: int) -> float:
    """How probable acceptance is with normal noise of one spread on both sides, ``seeds`` each.

    The two variances' share of their sum has a beta distribution and is independent of the sum; given the share,
    Welch's degrees of freedom are fixed and the statistic is noncentral t with 2 n - 2. The mean over shares is by
    midpoints of equal probability. ``ValueError`` for a rule whose test does not imply the gain that it asks for.
    """
    if rule.p_max > 0.5 or rule.tested_gain < rule.least_gain:
        raise ValueError(f"rule {rule.name!r} asks for more than its test shows")
    half = (seeds - 1) / 2
    part_K = stats.beta.ppf((np.arange(_SHARES) + 0.5) / _SHARES, half, half)
    degrees_K = (seeds - 1) / (part_K**2 + (1 - part_K) ** 2)
    critical_K = stats.t.isf(rule.p_max, degrees_K)
    offset = (gain - rule.tested_gain) / (spread * math.sqrt(2.0 / seeds))
    return float(stats.nct.sf(critical_K, 2 * seeds - 2, offset).mean())


def seeds_needed(rule: Rule, *, gain: float, spread: float, wanted: float, most: int = 100_000) -> int | None:
    """Fewest seeds a side that accept a true gain with probability ``wanted``; None if ``most`` are too few."""

    def suffices(seeds: int) -> bool:
        return power(rule, gain=gain, spread=spread, seeds=seeds) >= wanted

    if gain <= rule.tested_gain or not suffices(most):
        return None
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
