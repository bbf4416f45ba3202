"""Lines through documents, and what drawing the documents again or swapping labels makes of them.

A document counts by its bytes of text, as it does in the score. Every draw comes from a generator with a seed of its
own, so equal losses give equal tables.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Line:
    """A difference of bits per byte as a line over log2 of the document's length."""

    mean: float
    """Bits per byte over all text."""
    slope: float
    """Bits per byte for each doubling of the length."""
    zero: float
    """Tokens at which the line is zero; NaN unless it is within the lengths that there are."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Between what 95% of the draws lie; NaN where there are none."""

    low: float
    high: float


def lines(nats_SD: Floats, bytes_SD: Floats, log_lengths_SD: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean, slope and zero (in log2 of tokens) of each row's documents, weighted by their bytes.

    Least squares; the zero is NaN where the line has none. Shapes (S,) from (S, D).
    """
    total = bytes_SD.sum(-1)
    centre = (bytes_SD * log_lengths_SD).sum(-1) / total
    away = log_lengths_SD - centre[..., None]
    spread = (bytes_SD * away**2).sum(-1)
    mean = nats_SD.sum(-1) / total / math.log(2)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (nats_SD * away).sum(-1) / spread / math.log(2)
        zero = np.where(slope == 0, np.nan, centre - mean / slope)
    return mean, slope, zero


def line(nats_D: Floats, bytes_D: Floats, lengths_D: Floats) -> Line:
    """The line of one difference over all documents."""
    mean, slope, zero = lines(nats_D[None], bytes_D[None], np.log2(lengths_D)[None])
    return Line(float(mean[0]), float(slope[0]), float(_inside(zero, lengths_D)[0]))


def _inside(zero_S: Floats, lengths_D: Floats) -> Floats:
    """Zeros as tokens; NaN where no document is that long or that short."""
    with np.errstate(over="ignore"):
        tokens = np.exp2(zero_S)
    return np.where((tokens >= lengths_D.min()) & (tokens <= lengths_D.max()), tokens, np.nan)


@dataclass(frozen=True, slots=True)
class Drawn:
    """What many samples of the documents, drawn with replacement, make of a line."""

    mean: Interval
    slope: Interval
    zero: Interval
    """Of the samples that have a zero."""
    with_zero: float
    """Share of the samples whose line crosses zero within the lengths that there are."""


def draw_documents(nats_D: Floats, bytes_D: Floats, lengths_D: Floats, *, samples: int, seed: int) -> Drawn:
    """Bootstrap over documents (Efron 1979)."""
    generator = np.random.default_rng(seed)
    which_SD = generator.integers(0, len(nats_D), (samples, len(nats_D)))
    mean, slope, zero = lines(nats_D[which_SD], bytes_D[which_SD], np.log2(lengths_D)[which_SD])
    zero = _inside(zero, lengths_D)
    crossing = np.isfinite(zero)
    return Drawn(interval(mean), interval(slope), interval(zero[crossing]), float(crossing.mean()))


@dataclass(frozen=True, slots=True)
class Swapped:
    """What swapping the two sides of a difference, document by document, makes of a line."""

    mean: Interval
    slope: Interval
    p_mean: float
    """Share of swaps, this arrangement counted in, whose mean is at least as far from zero."""
    p_slope: float


def swap_labels(nats_D: Floats, bytes_D: Floats, lengths_D: Floats, *, samples: int, seed: int) -> Swapped:
    """Null model: which side is which is a coin toss for each document; lengths and weights stay.

    For the slope the mean is taken out first: a difference that is the same at every length is none of length.
    """
    generator = np.random.default_rng(seed)
    signs_SD = generator.choice(np.array([-1.0, 1.0]), (samples, len(nats_D)))
    weights_SD, log_lengths_SD = (np.broadcast_to(each, signs_SD.shape) for each in (bytes_D, np.log2(lengths_D)))
    own = line(nats_D, bytes_D, lengths_D)
    away_D = nats_D - bytes_D * nats_D.sum() / bytes_D.sum()
    mean, _, _ = lines(signs_SD * nats_D, weights_SD, log_lengths_SD)
    _, slope, _ = lines(signs_SD * away_D, weights_SD, log_lengths_SD)
    return Swapped(interval(mean), interval(slope), beyond(own.mean, mean), beyond(own.slope, slope))


def beyond(own: float, drawn_S: Floats) -> float:
    """Share of draws at least as far from zero as ``own``, which is counted as one of them."""
    slack = 1e-12 * abs(own)
    return float((1 + np.count_nonzero(np.abs(drawn_S) >= abs(own) - slack)) / (1 + len(drawn_S)))


def interval(drawn: Floats) -> Interval:
    """The middle 95% of the draws."""
    if not len(drawn):
        return Interval(math.nan, math.nan)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Interval(float(low), float(high))
