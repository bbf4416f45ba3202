"""Steps at which all matrices have one slope of loss over bits, and the slope that fills a file (pure).

Of all steps that make the same number of bytes those are best where a byte that is taken from one matrix costs as many
nats as a byte given to another one saves (Shoham and Gersho, IEEE Trans. ASSP 36, 1988): where -d nats / d bits, the
Lagrangian's multiplier, is the same for all. At high rates nats go with the square of the step and a bit a weight with
halving it; then nats a weight are the same everywhere. Curves here are whatever was measured.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fairway.errors import GateError

_SLOPES_ALL = 256.0
"""Binary logarithm of nats a bit, or of its inverse, beyond whatever a curve has."""
_SLOPES_TRIES = 16


@dataclass(frozen=True, slots=True)
class Curve:
    """What one matrix costs at steps an octave apart, the first one ``2**first`` times that of its role's grid."""

    name: str
    first: int
    bits: Sequence[float]
    """Of the whole matrix, at each step."""
    nats: Sequence[float]
    """By which the loss rises."""
    least: float = -math.inf
    """Octaves that the step may not fall below."""

    def octaves_at(self, slope: float) -> float:
        """The step, as octaves above the grid's, where the curve has 2**slope nats a bit; rises with ``slope``.

        Between two steps the curve has the slope of the chord, in the middle. Steps above the lower convex hull are
        passed over; beyond the outermost chords nats are quadratic in the step.
        """
        corners = self._hull()
        if len(corners) == 1:
            return max(self.least, float(self.first + corners[0]))
        middles = [self.first + (i + j) / 2 for i, j in zip(corners[:-1], corners[1:], strict=True)]
        slopes = [self._slope(i, j) for i, j in zip(corners[:-1], corners[1:], strict=True)]
        place = sum(each < slope for each in slopes)
        if place == 0:
            found = middles[0] + (slope - slopes[0]) / 2
        elif place == len(slopes):
            found = middles[-1] + (slope - slopes[-1]) / 2
        else:
            share = (slope - slopes[place - 1]) / (slopes[place] - slopes[place - 1])
            found = middles[place - 1] + share * (middles[place] - middles[place - 1])
        finest, coarsest = (max(self.least, float(self.first + corner)) for corner in (corners[0], corners[-1]))
        return min(max(found, finest), coarsest)

    def bits_at(self, octaves: float) -> float:
        """Bits of the matrix at such a step."""
        return _slopes_between(self.bits, octaves - self.first)

    def nats_at(self, octaves: float) -> float:
        """By how much the loss rises at such a step."""
        logs = [math.log2(max(nats, 1e-300)) for nats in self.nats]
        return float(2.0 ** _slopes_between(logs, octaves - self.first))

    def _slope(self, fine: int, coarse: int) -> float:
        return math.log2(self.nats[coarse] - self.nats[fine]) - math.log2(self.bits[fine] - self.bits[coarse])

    def _hull(self) -> list[int]:
        """Places of the steps that some slope would choose, from fine to coarse."""
        # a step that saves no bits, or loses no nats, settles which of the two is worse
        places: list[int] = []
        for place in range(len(self.bits)):
            while places and self.nats[places[-1]] >= self.nats[place]:
                places.pop()
            if not places or self.bits[place] < self.bits[places[-1]]:
                while len(places) > 1 and self._slope(places[-2], places[-1]) >= self._slope(places[-1], place):
                    places.pop()
                places.append(place)
        return places


def _slopes_between(values: Sequence[float], place: float) -> float:
    """Linear between neighbours, and on along the line of the outermost two."""
    below = min(max(math.floor(place), 0), len(values) - 2)
    return values[below] + (values[below + 1] - values[below]) * (place - below)


def allocation(curves: Sequence[Curve], slope: float) -> dict[str, float]:
    """What each matrix's steps are multiplied by, at one slope for all (binary logarithm of nats a bit)."""
    return {curve.name: float(2.0 ** curve.octaves_at(slope)) for curve in curves}


def allocated_bits(curves: Sequence[Curve], slope: float) -> float:
    """Bits of all matrices together at that slope; falls with it."""
    return sum(curve.bits_at(curve.octaves_at(slope)) for curve in curves)


def fitting_slope(
    curves: Sequence[Curve], size: Callable[[float], int], target_bytes: int, tolerance_bytes: int
) -> float:
    """The slope whose true ``size`` is at most the target, and by no more than the tolerance below it.

    Bisection, but each try is where the curves have the middle of that range, were they as far from the truth as at
    the try before; halfway where that leads out of what is known. More is left unused only if all steps are as fine as
    they may be, or sizes jump. ``GateError`` if not even the coarsest steps fit.
    """
    low, high = -_SLOPES_ALL, _SLOPES_ALL
    most, least = allocated_bits(curves, low), allocated_bits(curves, high)
    best: tuple[int, float] | None = None
    excess = 0.0
    for _ in range(_SLOPES_TRIES):
        slope = _slopes_of_bytes(curves, target_bytes - tolerance_bytes / 2 - excess)
        if not low < slope < high:
            slope = (low + high) / 2
        found, bits = size(slope), allocated_bits(curves, slope)
        if found <= target_bytes:
            best, high = max(best or (found, slope), (found, slope)), slope
            if found >= target_bytes - tolerance_bytes or bits >= most - 1:
                break
        else:
            low = slope
            if bits <= least + 1:
                raise GateError(f"artifact must have at most {target_bytes} bytes, got {found} at the coarsest steps")
        excess = found - bits / 8
    if best is None:
        raise GateError(f"artifact must have at most {target_bytes} bytes, got more at {_SLOPES_TRIES} slopes")
    return best[1]


def _slopes_of_bytes(curves: Sequence[Curve], wanted: float) -> float:
    """Where the curves have so many bytes, or the nearest end of what they may have."""
    low, high = -_SLOPES_ALL, _SLOPES_ALL
    for _ in range(40):
        middle = (low + high) / 2
        if allocated_bits(curves, middle) / 8 > wanted:
            low = middle
        else:
            high = middle
    return high
