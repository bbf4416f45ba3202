import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.quant.grid import decode, encode, largest_symbol, quantile_steps, row_steps
from fairway.spec.quant import Grid, QuantileGrid

GRID = Grid(bits=6, clip_sigmas=12.0)


def normal(outputs: int, inputs: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(outputs, inputs, generator=torch.Generator().manual_seed(seed))


@given(bits=st.integers(2, 8))
def test_symbols_of_a_grid_are_symmetric_and_fit_its_bits(bits):
    assert 2 * largest_symbol(bits) + 1 == 2**bits - 1


def test_a_step_puts_clip_sigmas_standard_deviations_on_the_largest_symbol():
    w = normal(5, 4000) * torch.tensor([1e-3, 0.1, 1.0, 7.0, 100.0])[:, None]
    clip = row_steps(w, GRID).float() * largest_symbol(GRID.bits)
    torch.testing.assert_close(clip, 12.0 * w.std(dim=1, correction=0), rtol=1e-3, atol=0)


@given(seed=st.integers(0, 999), bits=st.integers(2, 8), clip=st.floats(2.0, 20.0), scale=st.floats(1e-4, 1e3))
def test_a_weight_within_the_clip_is_off_by_half_a_step_at_most(seed, bits, clip, scale):
    w = normal(3, 40, seed) * scale
    step = row_steps(w, Grid(bits=bits, clip_sigmas=clip))
    edge = step.float()[:, None] * largest_symbol(bits)
    error = (decode(encode(w, step, bits), step) - w.clamp(-edge, edge)).abs()
    assert bool((error <= 0.5001 * step.float()[:, None]).all())


@given(seed=st.integers(0, 999), bits=st.integers(2, 8))
def test_decoding_and_encoding_again_changes_no_symbol(seed, bits):
    q = torch.randint(
        -largest_symbol(bits), largest_symbol(bits) + 1, (4, 30), generator=torch.Generator().manual_seed(seed)
    ).to(torch.int8)
    step = (torch.rand(4, generator=torch.Generator().manual_seed(seed)) + 1e-5).half()
    assert torch.equal(encode(decode(q, step), step, bits), q)


def test_rows_of_zeros_and_of_tiny_weights_have_positive_steps_and_decode_near_themselves():
    w = torch.zeros(3, 16)
    w[1] = 1e-9 * normal(1, 16)[0]
    w[2] = 1e-5 * normal(1, 16)[0]
    step = row_steps(w, GRID)
    assert bool((step > 0).all())
    back = decode(encode(w, step, 6), step)
    assert torch.equal(back[:2], torch.zeros(2, 16))
    assert float((back[2] - w[2]).norm() / w[2].norm()) < 0.2


def test_the_floor_makes_all_small_rows_share_one_step():
    w = normal(4, 100) * torch.tensor([1e-3, 1e-2, 1e-2, 5.0])[:, None]
    step = row_steps(w, Grid(bits=6, clip_sigmas=1.0, scale_floor=1 / 31))
    assert torch.equal(step[:3], torch.full((3,), 1 / 31).half())
    assert float(step[3]) > 1 / 31


def test_a_row_that_is_not_finite_has_a_step_that_is_not():
    w = normal(3, 8)
    w[0, 3], w[1, 2] = math.nan, math.inf
    assert row_steps(w, GRID).isfinite().tolist() == [False, False, True]


def slow_quantile(row: list[float], share: float) -> float:
    """Linear between the neighbours in order, as the records' own."""
    ordered = sorted(abs(x) for x in row)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


@settings(deadline=None)
@given(seed=st.integers(0, 99), share=st.sampled_from([0.5, 0.9, 0.99, 0.9999984, 1.0]))
def test_a_quantile_of_the_row_falls_on_the_largest_symbol(seed, share):
    w = normal(4, 37, seed)
    steps = row_steps(w, QuantileGrid(bits=6, quantiles=(share,)))
    expected = torch.tensor([slow_quantile(row, share) / 31 for row in w.tolist()])
    torch.testing.assert_close(steps.float(), expected, rtol=1e-3, atol=0)


def test_the_floor_of_the_records_makes_six_bits_a_fixed_step_for_rows_below_one():
    w = normal(3, 200) * torch.tensor([0.01, 0.2, 3.0])[:, None]
    steps = row_steps(w, QuantileGrid(bits=6, scale_floor=1 / 31)).float()
    torch.testing.assert_close(steps[:2], torch.full((2,), 1 / 31), rtol=1e-3, atol=0)
    torch.testing.assert_close(steps[2], w[2].abs().max() / 31, rtol=1e-3, atol=0)


@settings(deadline=None)
@given(seed=st.integers(0, 99))
def test_the_search_takes_for_each_row_or_for_the_matrix_the_quantile_of_least_squared_error(seed):
    w = normal(5, 60, seed) ** 3  # heavy tails: clipping pays
    shares = (0.9, 0.95, 0.99, 1.0)
    grids = {by: QuantileGrid(bits=4, quantiles=shares, by=by) for by in ("row", "matrix")}
    tried = [quantile_steps(w, grids["row"], share) for share in shares]
    errors = [[float(((decode(encode(w, s, 4), s) - w)[row] ** 2).sum()) for row in range(5)] for s in tried]
    chosen = row_steps(w, grids["row"])
    for row in range(5):
        best = min(range(4), key=lambda place: errors[place][row])
        assert chosen[row] == tried[best][row]
    whole = min(range(4), key=lambda place: sum(errors[place]))
    assert torch.equal(row_steps(w, grids["matrix"]), tried[whole])


def test_a_row_that_is_not_finite_is_not_given_a_finite_step_by_the_search():
    w = normal(3, 8)
    w[0, 3], w[1, 2] = math.nan, math.inf
    for shares in ((1.0,), (0.5, 1.0)):
        assert not bool(row_steps(w, QuantileGrid(bits=6, quantiles=shares)).isfinite()[:2].all())
