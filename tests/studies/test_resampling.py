import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.studies.resampling import beyond, draw_documents, interval, line, swap_labels

LENGTHS = np.array([100.0, 200.0, 400.0, 800.0, 1600.0, 3200.0])
TEXT = 3 * LENGTHS


def nats(bpb_D) -> np.ndarray:
    return np.asarray(bpb_D) * TEXT * math.log(2)


def test_a_line_over_the_logarithm_of_the_length_is_found_with_its_zero():
    found = line(nats(-0.01 * (np.log2(LENGTHS) - np.log2(500.0))), TEXT, LENGTHS)
    assert found.slope == pytest.approx(-0.01)
    assert found.zero == pytest.approx(500.0)
    assert found.mean == pytest.approx(np.average(-0.01 * np.log2(LENGTHS / 500), weights=TEXT))


def test_a_zero_beyond_all_lengths_is_none():
    assert math.isnan(line(nats(-0.01 * np.log2(LENGTHS / 50)), TEXT, LENGTHS).zero)
    assert math.isnan(line(nats(np.full(6, 0.01)), TEXT, LENGTHS).zero)


@given(st.floats(-0.1, 0.1), st.floats(-1.0, 1.0))
def test_documents_drawn_again_leave_an_exact_line_as_it_is(slope, mean):
    bpb = mean + slope * np.log2(LENGTHS)
    drawn = draw_documents(nats(bpb), TEXT, LENGTHS, samples=50, seed=1)
    assert drawn.slope.low == pytest.approx(slope, abs=1e-9)
    assert drawn.slope.high == pytest.approx(slope, abs=1e-9)


def many(seed: int, slope: float, noise: float):
    generator = np.random.default_rng(seed)
    lengths = np.exp2(generator.uniform(7, 12, 300))
    text = 4.0 * lengths
    bpb = slope * (np.log2(lengths) - 9.0) + noise * generator.standard_normal(300)
    return bpb * text * math.log(2), text, lengths


def test_bootstrap_intervals_hold_the_truth_nineteen_times_of_twenty_or_so():
    drawn = [draw_documents(*many(seed, -0.01, 0.02), samples=400, seed=seed) for seed in range(60)]
    assert sum(each.slope.low < -0.01 < each.slope.high for each in drawn) >= 51
    assert sum(each.zero.low < 512 < each.zero.high for each in drawn) >= 51
    assert all(each.with_zero > 0.5 for each in drawn)


def test_swapped_labels_tell_a_slope_from_none():
    assert swap_labels(*many(3, -0.01, 0.02), samples=999, seed=1).p_slope == pytest.approx(1e-3)
    assert swap_labels(*many(3, 0.0, 0.02), samples=999, seed=1).p_slope > 0.01


def test_a_difference_alike_at_every_length_is_no_slope():
    offset_nats, text, lengths = many(3, 0.0, 0.02)
    shifted = swap_labels(offset_nats + 0.5 * text * math.log(2), text, lengths, samples=999, seed=1)
    assert shifted.p_mean == pytest.approx(1e-3)
    assert shifted.p_slope == swap_labels(offset_nats, text, lengths, samples=999, seed=1).p_slope


def test_p_values_under_the_null_are_even():
    found = [swap_labels(*many(seed, 0.0, 0.02), samples=199, seed=seed).p_slope for seed in range(200)]
    assert 0.35 < np.mean(np.asarray(found) < 0.5) < 0.65
    assert np.mean(np.asarray(found) < 0.05) < 0.12


def test_no_draws_have_no_interval_and_the_own_value_counts_as_a_draw():
    assert math.isnan(interval(np.zeros(0)).low)
    assert beyond(2.0, np.array([0.5, -3.0, 1.0])) == pytest.approx(0.5)
