"""The seconds of one evaluation against its budget: how far it is, a forecast early on, and its end when they are gone.

A forecast is of work: inputs of a forward, three times as many where it is learned from. Documents come longest
first, so a token of the first batches costs more than one of the last.
"""

import time
from collections.abc import Callable, Sequence
from typing import NoReturn

from fairway.errors import GateError
from fairway.runtime.events import EventLog
from fairway.score.bpb import Tally
from fairway.score.steps import PlanStep, ScoreStep

PROGRESS_EVENTS = 50
"""At most so many ``scored`` events an evaluation."""
FORECASTS = (50, 5)
"""A forecast is made when one part in so many of the work is done."""
LEARNING = 3
"""Forward and backward together cost about so many forwards."""


def work(step: PlanStep) -> int:
    """Inputs that go through the model for a step, those that are learned from counted ``LEARNING`` times."""
    if isinstance(step, ScoreStep):
        inputs = [span.inputs for span in step.spans]
        return sum(inputs) + (LEARNING - 1) * sum(inputs[: step.learns])
    return LEARNING * sum(stop - start for start, stop in step.spans) if step.what == "sgd" else 0


class Watch:
    """One evaluation's clock, which each of ``world`` processes looks at for itself; it runs from the beginning."""

    def __init__(
        self,
        budget_s: float,
        events: EventLog,
        *,
        world: int = 1,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._budget_s = budget_s
        self._events = events
        self._world = world
        self._clock = clock
        self._began_s = clock()
        self._targets = self._work = 0
        self._done = 0
        self._due = 1
        self._forecasts = list(FORECASTS)

    @property
    def seconds(self) -> float:
        """Since the evaluation began."""
        return self._clock() - self._began_s

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.seconds > self._budget_s

    def begin(self, steps: Sequence[PlanStep], targets: int) -> None:
        """What there is to do."""
        self._work, self._targets = sum(map(work, steps)), targets

    def took(self, step: PlanStep, *, together: bool = False) -> None:
        """A step is done, by this process or by all together; now and then a forecast of the whole comes of it."""
        self._done += work(step) * (1 if together else self._world)
        if self._forecasts and self._done * self._forecasts[0] >= self._work:
            self._forecasts.pop(0)
            forecast_s = self.seconds * self._work / self._done
            fits = forecast_s <= self._budget_s
            self._events.emit("forecast", seconds=forecast_s, budget_s=self._budget_s, fits=fits)

    def scored(self, tally: Tally) -> None:
        """So much stands on the ledger."""
        if tally.tokens * PROGRESS_EVENTS >= self._due * self._targets and tally.size_bytes:
            self._due = tally.tokens * PROGRESS_EVENTS // self._targets + 1
            self._events.emit("scored", targets=tally.tokens, of=self._targets, bpb=tally.bpb)

    def stop(self, tally: Tally) -> NoReturn:
        """Say how far it came, and end it: ``GateError``."""
        seconds = self.seconds
        self._events.emit("stopped", targets=tally.tokens, of=self._targets, seconds=seconds, budget_s=self._budget_s)
        raise GateError(
            f"score.budget_s ({self._budget_s:g}) is used up after {seconds:.1f} s with {tally.tokens} of"
            f" {self._targets} targets scored: a part of them is no score, so none is written"
        )
