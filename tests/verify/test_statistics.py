import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import special, stats

from fairway.verify.statistics import mean, sample_std, student_below, welch


def test_the_published_p_value_of_a_merged_record_is_reproduced():
    # Per-seed scores as the logs of #1855 and of the record before it would be: only the formula is under test,
    # against Welch's textbook form with the incomplete beta function left to scipy.
    new, old = [1.0606, 1.0613, 1.0614], [1.0614, 1.0616, 1.0618]
    result = welch(new, old, margin=0.0)
    a, b = sample_std(new) ** 2 / 3, sample_std(old) ** 2 / 3
    assert result.t == pytest.approx((mean(new) - mean(old)) / math.sqrt(a + b))
    assert result.degrees == pytest.approx((a + b) ** 2 / (a**2 / 2 + b**2 / 2))
    assert 0.0 < result.p < 0.5


@given(st.lists(st.floats(0.5, 2.0), min_size=2, max_size=5), st.lists(st.floats(0.5, 2.0), min_size=2, max_size=5))
def test_a_margin_never_makes_a_gain_more_probable(new, old):
    assert welch(new, old, margin=0.01).p >= welch(new, old, margin=0.0).p - 1e-9


def test_seeds_without_any_spread_are_compared_by_their_gain_alone():
    assert welch([1.0, 1.0], [1.1, 1.1], margin=0.05).p == 0.0
    assert welch([1.0, 1.0], [1.1, 1.1], margin=0.2).p == 1.0


def test_one_seed_has_no_spread_and_cannot_be_tested():
    assert sample_std([1.0]) is None
    with pytest.raises(ValueError, match="two values a side"):
        welch([1.0], [1.1, 1.2], margin=0.0)


@given(st.floats(-80, 80), st.floats(1.0, 1e4))
def test_students_distribution_is_that_of_a_library(t, degrees):
    assert student_below(t, degrees) == pytest.approx(float(special.stdtr(degrees, t)), rel=1e-9, abs=1e-250)


@given(
    st.lists(st.floats(1.0, 1.1), min_size=2, max_size=6, unique=True),
    st.lists(st.floats(1.0, 1.1), min_size=2, max_size=6, unique=True),
)
def test_the_test_is_welchs_of_a_library(new, old):
    assume(sample_std(new) > 1e-6 and sample_std(old) > 1e-6)
    ours = welch(new, old, margin=0.0)
    theirs = stats.ttest_ind(new, old, equal_var=False, alternative="less")
    assert (ours.t, ours.p) == pytest.approx((float(theirs.statistic), float(theirs.pvalue)), rel=1e-6)
