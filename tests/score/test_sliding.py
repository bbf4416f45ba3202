from typing import Any

import torch
from torch.nn import functional

from fairway.score.sliding import SlidingEvaluator
from fairway.score.steps import ScoreStep
from fairway.score.windows import sliding_windows

LENGTHS = (13, 1, 30, 7, 2, 22, 6)


def test_each_target_is_predicted_from_its_window_alone(model: Any, streams: Any, run_by_target: Any) -> None:
    stream = streams(LENGTHS)
    losses = run_by_target(SlidingEvaluator(model, context=16, stride=5, batch_tokens=50, looped=True), stream)
    expected = []
    for window in sliding_windows(len(stream.tokens) - 1, 16, 5):
        row = stream.tokens[window.context : window.stop].long()
        logits = model(row[None, :-1], looped=True)[0]
        expected.append(functional.cross_entropy(logits, row[1:], reduction="none")[-window.targets :])
    torch.testing.assert_close(losses, torch.cat(expected), rtol=1e-5, atol=1e-5)


def test_a_step_holds_windows_of_one_length_and_no_more_tokens_than_allowed(model: Any) -> None:
    steps = list(SlidingEvaluator(model, context=16, stride=5, batch_tokens=50, looped=True).plan(LENGTHS))
    assert all(isinstance(step, ScoreStep) for step in steps)
    assert all(len({span.inputs for span in step.spans}) == 1 for step in steps)
    assert max(sum(span.inputs for span in step.spans) for step in steps) == 48
