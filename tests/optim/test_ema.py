"""Running average of the weights."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.optim.ema import Ema


@settings(max_examples=25)
@given(decay=st.floats(0.0, 0.999), seed=st.integers(0, 1000))
def test_the_average_is_the_recurrence_from_the_initial_weights_on(decay: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    weights = {name: torch.nn.Parameter(torch.randn(3, 2, generator=random)) for name in ("a", "b")}
    ema = Ema(weights, decay)
    expected = {name: weight.detach().double() for name, weight in weights.items()}
    for _ in range(5):
        for name, weight in weights.items():
            weight.data.normal_(generator=random)
            expected[name] = decay * expected[name] + (1 - decay) * weight.detach().double()
        ema.update()
    for name, average in ema.averages().items():
        torch.testing.assert_close(average.double(), expected[name], rtol=1e-5, atol=1e-6)
    ema.load_into_weights()
    for name, average in ema.averages().items():
        assert torch.equal(weights[name].detach(), average)


def test_averages_of_half_precision_weights_are_kept_in_float32() -> None:
    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.bfloat16))
    ema = Ema({"w": weight}, 0.999)
    weight.data.fill_(2.0)
    ema.update()
    assert ema.averages()["w"].dtype == torch.float32
    # In bfloat16 a step of a thousandth of the way would be lost.
    assert ema.averages()["w"].tolist() == pytest.approx([1.001] * 4)
