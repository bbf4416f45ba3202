"""Mean and sample standard deviation; one value has no spread, and says so."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one quantity over the seeds; ``std`` divides by n - 1 and is None for one seed."""

    mean: float
    std: float | None


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation of at least one value."""
    assert values, "a run has at least one seed"
    return Spread(math.fsum(values) / len(values), statistics.stdev(values) if len(values) > 1 else None)
