"""Two models asked alike, and the mean of their logits."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fairway.model.gpt import Gpt
from fairway.score.ensemble import MeanEvaluator
from fairway.score.sliding import SlidingEvaluator
from fairway.score.windows import sliding_windows
from fairway.spec.score import DocumentLora, ScoreSpec, Sliding

LENGTHS = (13, 30, 7, 22)


@pytest.fixture(scope="module")
def other(model: Any) -> Gpt:
    found = Gpt(model.spec)
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            own = model.get_parameter(name)
            parameter.copy_(own + 0.2 * torch.randn(own.shape, generator=source))
    return found


def test_a_prediction_is_the_normalised_geometric_mean_of_both(
    model: Any, other: Any, streams: Any, run_by_target: Any
) -> None:
    stream = streams(LENGTHS)
    one, two = (SlidingEvaluator(each, context=16, stride=5, batch_tokens=50, looped=True) for each in (model, other))
    losses = run_by_target(MeanEvaluator(one, two), stream)
    expected = []
    for window in sliding_windows(len(stream.tokens) - 1, 16, 5):
        row = stream.tokens[window.context : window.stop].long()
        shares = [each(row[None, :-1], looped=True)[0].double().softmax(-1) for each in (model, other)]
        mean = (shares[0] * shares[1]).sqrt()
        shares_TV = mean / mean.sum(-1, keepdim=True)
        own = -shares_TV[torch.arange(len(row) - 1), row[1:]].log()
        expected.append(own[-window.targets :].float())
    torch.testing.assert_close(losses, torch.cat(expected), rtol=1e-4, atol=1e-5)
    alone = run_by_target(one, stream)
    assert (losses - alone).abs().max() > 1e-2, "the second model must count"


def test_only_a_method_that_learns_nothing_may_be_asked_of_two_models() -> None:
    spec = ScoreSpec(
        context=64, batch_tokens=64, method=Sliding(), diagnostic=Sliding(), budget_s=1.0, logit_ensemble=True
    )
    with pytest.raises(ValueError, match="a method that learns nothing, flat or sliding, got lora"):
        replace(spec, method=DocumentLora())
