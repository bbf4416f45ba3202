"""One slope for all: where it lies on made-up problems, and the one that fills a file."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import GateError
from fairway.quant.slopes import Curve, allocated_bits, allocation, fitting_slope

FIRST, LAST = -8, 8


def quadratic(name, weights, nats, least=-math.inf):
    """A bit a weight for half the step, a quarter of the loss; nats and no bits at the grid's own step."""
    octaves = range(FIRST, LAST + 1)
    return Curve(
        name, FIRST, [weights * (20.0 - each) for each in octaves], [nats * 4.0**each for each in octaves], least
    )


problems = st.lists(st.tuples(st.integers(1, 10_000), st.floats(1e-6, 1e-4)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=20)
@given(problems, st.floats(0.5, 8.0))
def test_on_quadratic_problems_every_weight_loses_alike(sizes, scale):
    curves = [quadratic(str(i), weights, weights * nats) for i, (weights, nats) in enumerate(sizes)]
    octaves = [curve.octaves_at(math.log2(scale * 1e-5)) for curve in curves]
    assert all(FIRST < each < LAST for each in octaves)
    lost = [nats * 4.0**each for (_, nats), each in zip(sizes, octaves, strict=True)]
    # the chord of an octave about x is 3/2 of the loss at x for each bit
    assert lost == pytest.approx([2 / 3 * scale * 1e-5] * len(lost), rel=1e-6)


@settings(deadline=None, max_examples=20)
@given(problems, st.floats(-25.0, -5.0), st.randoms(use_true_random=False))
def test_no_other_steps_of_as_many_bits_lose_less(sizes, slope, random):
    curves = [quadratic(str(i), weights, weights * nats) for i, (weights, nats) in enumerate(sizes)]
    octaves = [curve.octaves_at(slope) for curve in curves]
    if not all(FIRST + 1 < each < LAST - 1 for each in octaves):
        return
    least = sum(curve.nats_at(each) for curve, each in zip(curves, octaves, strict=True))
    moved = [each + random.uniform(-0.5, 0.5) for each in octaves]
    weights = [weights for weights, _ in sizes]
    excess = sum(n * (there - here) for n, here, there in zip(weights, octaves, moved, strict=True)) / sum(weights)
    moved = [each - excess for each in moved]
    assert sum(curve.nats_at(each) for curve, each in zip(curves, moved, strict=True)) >= least * (1 - 1e-9)


few = st.lists(st.tuples(st.integers(1, 10_000), st.floats(1e-6, 1e-4)), min_size=1, max_size=3)
falling = st.lists(st.floats(0.01, 5.0), min_size=2, max_size=8)


@st.composite
def amounts(draw):
    """Bits that fall and nats that rise, by whatever amounts, sometimes by none."""
    steps = draw(falling)
    rises = draw(st.lists(st.floats(0.0, 5.0), min_size=len(steps), max_size=len(steps)))
    bits = [sum(steps[i:], 1.0) for i in range(len(steps) + 1)]
    nats = [sum(rises[:i], 0.0) for i in range(len(steps) + 1)]
    return bits, nats, draw(st.floats(-3.0, 0.0))


@settings(deadline=None, max_examples=20)
@given(amounts(), st.lists(st.floats(-60.0, 60.0), min_size=2, max_size=9))
def test_steps_rise_and_bits_fall_with_the_slope_and_stay_in_range(drawn, slopes):
    bits, nats, least = drawn
    curve = Curve("w", -2, bits, nats, least)
    octaves = [curve.octaves_at(slope) for slope in sorted(slopes)]
    assert octaves == sorted(octaves)
    assert all(max(curve.least, -2) <= each <= -2 + len(curve.bits) - 1 for each in octaves)
    bits = [curve.bits_at(each) for each in octaves]
    assert all(more >= fewer - 1e-9 for more, fewer in zip(bits[:-1], bits[1:], strict=True))


def test_a_matrix_that_nothing_depends_on_has_the_coarsest_steps():
    assert Curve("dead", -2, [9.0, 6.0, 3.0], [0.0, 0.0, 0.0]).octaves_at(-100.0) == 0.0


@settings(deadline=None, max_examples=10)
@given(few, st.floats(0.2, 0.9), st.integers(-3000, 3000), st.floats(0.97, 1.03))
def test_the_file_is_filled_whatever_the_curves_leave_out(sizes, share, container, bias):
    curves = [quadratic(str(i), 1000 * weights, weights * nats) for i, (weights, nats) in enumerate(sizes)]
    asked = []

    def size(slope):
        asked.append(slope)
        return round(allocated_bits(curves, slope) / 8 * bias) + container + 3000

    smallest, largest = size(200.0), size(-200.0)
    target = round(smallest + share * (largest - smallest))
    asked.clear()
    slope = fitting_slope(curves, size, target, 100)
    assert slope in asked and len(asked) <= 8
    assert target - 100 <= size(slope) <= target


def test_the_finest_steps_are_taken_where_they_fit_and_coarsest_refused_where_they_do_not():
    curves = [quadratic("a", 8000, 1.0, least=-1.0), quadratic("b", 8000, 1e-3, least=-1.0)]

    def size(slope):
        return round(allocated_bits(curves, slope) / 8)

    found = allocation(curves, fitting_slope(curves, size, 10**9, 2000))
    assert found == {"a": 0.5, "b": 0.5}
    with pytest.raises(GateError, match="artifact must have at most 20 bytes, got 24000 at the coarsest steps"):
        fitting_slope(curves, size, 20, 2000)
