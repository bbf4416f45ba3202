"""The budget in seconds, and a stopwatch that pauses. Nothing here reads a clock unless it is asked to."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds that training may take, of which the last ``reserve_s`` belong to calibration and replay."""

    total_s: float
    reserve_s: float

    def __post_init__(self) -> None:
        """Refuse a reserve that leaves nothing to train with."""
        if not 0.0 <= self.reserve_s < self.total_s:
            raise ValueError(f"reserve_s ({self.reserve_s}) must be 0 or more and below total_s ({self.total_s})")

    @property
    def train_s(self) -> float:
        """Seconds of the training loop proper."""
        return self.total_s - self.reserve_s

    def must_stop(self, *, elapsed_s: float, step_s: float) -> bool:
        """Whether one more step of ``step_s`` seconds would eat into the reserve."""
        return elapsed_s + step_s > self.train_s

    def fraction(self, elapsed_s: float) -> float:
        """Share of the training seconds that is gone, 0..1."""
        return min(1.0, max(0.0, elapsed_s / self.train_s))


class Stopwatch:
    """Seconds between ``start`` and ``pause``, added up; it begins paused."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._gathered_s = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Count from now on; a running watch goes on."""
        if self._since is None:
            self._since = self._clock()

    def pause(self) -> None:
        """Stop counting; a paused watch stays paused."""
        if self._since is not None:
            self._gathered_s += self._clock() - self._since
            self._since = None

    def reset(self) -> None:
        """Back to zero, paused."""
        self._gathered_s, self._since = 0.0, None

    @property
    def elapsed_s(self) -> float:
        """Seconds counted so far."""
        if self._since is None:
            return self._gathered_s
        return self._gathered_s + self._clock() - self._since
