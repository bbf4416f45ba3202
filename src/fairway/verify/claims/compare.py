"""Whether a claimed number is what the logs show, to the digits that it is written with."""

import math
from decimal import Decimal

from fairway.verify.strict_json import Written

Number = int | float
"""Sizes and steps are whole numbers, scores and seconds are not."""

_SLACK = 1e-9
"""Of binary fractions: 0.1 + 0.2 is no difference."""


def unit_of(number: Number, *, most: float = math.inf) -> float:
    """One in the last written digit of a number, at most ``most``; trailing zeros count where the text is kept."""
    text = number.text if isinstance(number, Written) else repr(number)
    exponent = Decimal(text).normalize().as_tuple().exponent if "e" in text.lower() else _exponent(text)
    return min(10.0 ** int(exponent), most)


def agrees(claimed: Number, shown: Number, *, most: float = math.inf, units: float = 1.0) -> bool:
    """Whether two numbers differ by no more than ``units`` in the last digit of the coarser one.

    ``most`` bounds that digit: of a score, no fewer than four decimals are compared.
    """
    unit = max(unit_of(claimed, most=most), unit_of(shown, most=most))
    return abs(float(claimed) - float(shown)) <= units * unit + _SLACK


def _exponent(text: str) -> int:
    return -len(text.partition(".")[2])
