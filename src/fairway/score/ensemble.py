"""The mean of what two models say: softcapped logits of both, averaged before the softmax (#1048)."""

from collections.abc import Iterable, Sequence

from jaxtyping import Float, Int
from torch import Tensor

from fairway.score.referee import Evaluator
from fairway.score.steps import LearnStep, PlanStep, ScoreStep


class MeanEvaluator:
    """Two evaluators of one method over weights of their own, asked alike.

    The referee's softmax normalises the mean, so a prediction is the geometric mean of both, normalised; the record
    scored the mean of log-probabilities as it was, whose exponentials sum to less than one.
    """

    def __init__(self, one: Evaluator, other: Evaluator) -> None:
        self._one = one
        self._other = other

    def plan(self, lengths: Sequence[int]) -> Iterable[PlanStep]:
        """That of the method."""
        return self._one.plan(lengths)

    def predict(self, step: ScoreStep, inputs: Sequence[Int[Tensor, " _"]]) -> Sequence[Float[Tensor, "_ V"]]:
        """Means of the logits of both."""
        both = zip(self._one.predict(step, inputs), self._other.predict(step, inputs), strict=True)
        return [(one.float() + other.float()) / 2 for one, other in both]

    def update(
        self, step: LearnStep, inputs: Sequence[Int[Tensor, " _"]], targets: Sequence[Int[Tensor, " _"]]
    ) -> None:
        """Never called: the recipe admits methods that learn nothing alone."""
        raise AssertionError("an ensemble learns nothing")
