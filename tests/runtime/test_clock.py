"""The budget and the stopwatch."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.runtime.clock import Budget, Stopwatch

seconds = st.floats(0.0, 1e4)


class Ticker:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@given(total=st.floats(1.0, 1e4), share=st.floats(0.0, 0.99), elapsed=seconds, step=seconds)
def test_a_step_is_allowed_exactly_if_it_ends_before_the_reserve(
    total: float, share: float, elapsed: float, step: float
) -> None:
    budget = Budget(total, total * share)
    assert budget.must_stop(elapsed_s=elapsed, step_s=step) == (elapsed + step > total - total * share)
    assert 0.0 <= budget.fraction(elapsed) <= 1.0


@pytest.mark.parametrize(("total", "reserve"), [(10.0, 10.0), (10.0, -1.0), (0.0, 0.0)])
def test_a_reserve_that_leaves_no_training_is_refused(total: float, reserve: float) -> None:
    with pytest.raises(ValueError, match=f"reserve_s \\({reserve}\\) must be 0 or more and below total_s"):
        Budget(total, reserve)


def test_a_stopwatch_counts_only_between_start_and_pause() -> None:
    ticker = Ticker()
    watch = Stopwatch(ticker)
    ticker.now_s += 5
    assert watch.elapsed_s == 0
    watch.start()
    ticker.now_s += 3
    watch.start()
    assert watch.elapsed_s == 3
    watch.pause()
    ticker.now_s += 7
    watch.pause()
    assert watch.elapsed_s == 3
    watch.start()
    ticker.now_s += 1
    assert watch.elapsed_s == 4
    watch.reset()
    ticker.now_s += 1
    assert watch.elapsed_s == 0
