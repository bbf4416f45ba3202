import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.records.statistics import spread

VALUES = st.floats(-1e6, 1e6, allow_nan=False)


@given(values=st.lists(VALUES, min_size=2, max_size=20))
def test_spread_is_the_mean_and_the_deviation_over_n_minus_one(values: list[float]) -> None:
    of = spread(values)
    assert of.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert of.std == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-6)


@given(value=VALUES)
def test_one_value_is_its_own_mean_and_has_no_deviation(value: float) -> None:
    of = spread([value])
    assert of.mean == value
    assert of.std is None
