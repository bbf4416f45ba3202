"""What a method of evaluation says beforehand that it will do: score these spans, learn from those."""

from dataclasses import dataclass
from typing import Literal

from fairway.score.windows import Span


@dataclass(frozen=True, slots=True)
class ScoreStep:
    """Predict and score these spans, in this order, from one state of the method."""

    spans: tuple[Span, ...]
    chunk: int = 0
    """Which chunk of its documents this is; 0 begins a new batch of documents."""
    batch: int = 0
    """Which batch of documents, counted over the whole plan."""
    learns: int = 0
    """The ``LearnStep`` that follows at once learns from the first so many spans; their forward graph is kept."""


@dataclass(frozen=True, slots=True)
class LearnStep:
    """Take one optimizer step on targets ``start..stop-1`` of each span, all of them scored before."""

    what: Literal["lora", "sgd"]
    spans: tuple[tuple[int, int], ...]
    step: int = 0
    """Which step of this pass, from 0."""
    steps: int = 1
    """What the pass counts its rate over."""


PlanStep = ScoreStep | LearnStep
