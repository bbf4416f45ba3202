"""Means, spreads, and whether one set of seeds beats another by more than a margin."""

import math
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True, slots=True, kw_only=True)
class Welch:
    """One-sided Welch test; ``gain`` is how much lower the new mean is."""

    gain: float
    t: float
    """Infinite where neither side has any spread."""
    degrees: float
    p: float
    """How probable such a gain, or a larger one, would be if the true gain were the margin."""


def mean(values: Sequence[float]) -> float:
    """Exactly summed mean of at least one value."""
    return math.fsum(values) / len(values)


def sample_std(values: Sequence[float]) -> float | None:
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
    with warnings.catch_warnings():
        # scipy warns of lost digits where seeds are nearly equal; the test stays on the safe side then.
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.ttest_ind([value + margin for value in new], list(old), equal_var=False, alternative="less")
    return Welch(gain=gain, t=float(result.statistic), degrees=float(result.df), p=float(result.pvalue))
