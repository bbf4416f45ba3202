"""Means, spreads, and whether one set of seeds beats another by more than a margin."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Welch:
    """One-sided Welch test; ``gain`` is how much lower the new mean is."""

    gain: float
    t: float
    """Infinite where neither side has any spread."""
    degrees: float
    p: float
    """How probable such a gain, or a larger one, would be if the true gain were the margin."""


def mean(values: Sequence[float | int]) -> float:
    """Exactly summed mean of at least one value."""
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float | int]) -> float | None:
    """Standard deviation with n - 1 below the line; None for one value."""
    return statistics.stdev(values) if len(values) > 1 else None


def welch(new: Sequence[float], old: Sequence[float], *, margin: float) -> Welch:
    """Is ``new`` lower than ``old`` by more than ``margin``? ``ValueError`` below two values on either side."""
    if len(new) < 2 or len(old) < 2:
        raise ValueError(f"a Welch test needs two values a side, got {len(new)} and {len(old)}")
    gain = mean(old) - mean(new)
    if statistics.stdev(new) == 0.0 and statistics.stdev(old) == 0.0:
        beaten = gain > margin
        return Welch(gain=gain, t=-math.inf if beaten else math.inf, degrees=math.inf, p=0.0 if beaten else 1.0)
    spread_new, spread_old = statistics.variance(new) / len(new), statistics.variance(old) / len(old)
    t = (margin - gain) / math.sqrt(spread_new + spread_old)
    part = spread_new / (spread_new + spread_old)
    degrees = 1.0 / (part**2 / (len(new) - 1) + (1.0 - part) ** 2 / (len(old) - 1))
    return Welch(gain=gain, t=t, degrees=degrees, p=student_below(t, degrees))


def student_below(t: float, degrees: float) -> float:
    """How probable a value of Student's distribution below ``t`` is.

    By the regularised incomplete beta function; a library for it takes longer to import than a folder to judge.
    Source: Abramowitz and Stegun, Handbook of Mathematical Functions, 26.7.1 and 26.5.8.
    """
    if math.isinf(t):
        return 0.0 if t < 0 else 1.0
    whole = degrees + t * t
    beyond = 0.5 * _incomplete_beta(degrees / 2, 0.5, degrees / whole, t * t / whole)
    return beyond if t < 0 else 1.0 - beyond


def student_bound(share: float, degrees: float) -> float:
    """The value below which ``share`` (above one half) of Student's distribution lies, found by bisection."""
    low, high = 0.0, 1.0
    while student_below(high, degrees) < share:
        high *= 2.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if student_below(middle, degrees) < share else (low, middle)
    return 0.5 * (low + high)


def _incomplete_beta(a: float, b: float, x: float, rest: float) -> float:
    """Up to ``x``, the ``rest`` being 1 - x without the digits that the difference would lose."""
    if x <= 0.0 or rest <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    if x > (a + 1.0) / (a + b + 2.0):
        return 1.0 - _incomplete_beta(b, a, rest, x)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(scale + a * math.log(x) + b * math.log(rest)) * _beta_fraction(a, b, x) / a


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction, by Lentz's method; it converges in some dozens of steps below (a + 1) / (a + b + 2)."""
    smallest = 1e-300
    c, d = 1.0, 1.0 / ((1.0 - (a + b) * x / (a + 1.0)) or smallest)
    fraction = d
    for m in range(1, 10_000):
        before = fraction
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / ((1.0 + step * d) or smallest)
            c = (1.0 + step / c) or smallest
            fraction *= c * d
        if abs(fraction - before) <= 1e-15 * abs(fraction):
            break
    return fraction
