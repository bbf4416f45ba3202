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
    """How probable a value of Student's distribution below ``t`` is."""
    # Here and not above: the import takes half a second, and most folders need no test.
    from scipy.special import stdtr

    return float(stdtr(degrees, t))
