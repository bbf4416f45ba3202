"""Trellis-coded rounding: paths, their least error, and what GPTQ makes of them."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.quant.gptq import gptq, gptq_batch, relative_error
from fairway.quant.grid import decode, encode, row_steps
from fairway.quant.rounding import round_matrix
from fairway.quant.trellis import best_path, trellis_next
from fairway.quant.trellis_columns import column_paths, column_rounder, nearest_symbols
from fairway.spec.quant import TRELLIS_STATES, Gptq, Grid, Nearest, QuantSpec, TrellisGrid

SCALAR = Grid(bits=5, clip_sigmas=6.0)
GRID = TrellisGrid(bits=6, clip_sigmas=6.0 * 31 / 15 / 2, states=8)
"""Half the scalar step, near enough."""


def draws(*shape, seed=0, scale=1.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale


def follows(symbols, states):
    """Whether a list of symbols is a path from state 0."""
    after, state = trellis_next(states).tolist(), 0
    for symbol in symbols:
        if states > 1 and (symbol - state) % 2 or states == 1 and symbol % 2:
            return False
        state = after[state][symbol >> 1 & 1]
    return True


def path_by_hand(targets, weights, states, bits):
    """The slow twin: one column, lists and floats of Python, the way into each state remembered whole."""
    largest = 2 ** (bits - 1) - 1
    after = trellis_next(states).tolist()
    least = {0: (0.0, [])}
    for target, weight in zip(targets, weights, strict=True):
        found = {}
        for state, (cost, path) in least.items():
            parity = state % 2 if states > 1 else 0
            for second in (0, 1):
                subset = 2 * second + parity
                allowed = [symbol for symbol in range(-largest, largest + 1) if symbol % 4 == subset]
                symbol = min(allowed, key=lambda symbol: abs(target - symbol))
                total = cost + weight * (target - symbol) ** 2
                next_state = after[state][second]
                if next_state not in found or total < found[next_state][0]:
                    found[next_state] = total, [*path, symbol]
        least = found
    return min(least.values(), key=lambda entry: entry[0])


@pytest.mark.parametrize("states", TRELLIS_STATES)
def test_every_state_has_two_ways_in_and_two_out_and_ways_that_part_stay_apart_for_a_while(states):
    after = trellis_next(states)
    for second in (0, 1):
        assert sorted(after[:, second].tolist()) == list(range(states))
    # one symbol that differs in its second bit leads to states of which none is shared for log2(states) / 2 rows more
    reached = [{int(after[0, 0])}, {int(after[0, 1])}]
    for _ in range(int(math.log2(states)) // 2):
        assert not reached[0] & reached[1]
        reached = [{int(next_) for state in each for next_ in after[state]} for each in reached]


@settings(deadline=None, max_examples=30)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 5),
    states=st.sampled_from((1, *TRELLIS_STATES)),
    bits=st.integers(3, 8),
    spread=st.floats(0.0, 40.0),
    seed=st.integers(0, 999),
)
def test_symbols_are_paths_on_the_grid_of_the_least_cost_that_the_slow_twin_finds(
    rows, columns, states, bits, spread, seed
):
    targets, weights = draws(rows, columns, seed=seed, scale=spread), draws(rows, columns, seed=seed + 1).abs()
    found = best_path(targets, weights, states, bits)
    assert found.dtype == torch.int8 and int(found.abs().max()) <= 2 ** (bits - 1) - 1
    for column in range(min(columns, 2)):
        symbols = found[:, column].tolist()
        assert follows(symbols, states)
        cost, _ = path_by_hand(targets[:, column].tolist(), weights[:, column].tolist(), states, bits)
        own = float((weights[:, column].double() * (targets[:, column].double() - found[:, column]).square()).sum())
        assert own == pytest.approx(cost, rel=1e-4, abs=1e-9)


@pytest.mark.parametrize("states", [4, 8, 16])
def test_on_short_columns_no_path_of_all_there_are_is_better(states):
    targets, weights = draws(4, 30, scale=2.0), draws(4, 30, seed=1).abs()
    found = best_path(targets, weights, states, 3)
    paths = [path for path in itertools.product(range(-3, 4), repeat=4) if follows(path, states)]
    assert 7**4 > len(paths) > 3**4
    paths_PR = torch.tensor(paths)
    costs_PB = ((targets - paths_PR[:, :, None]).square() * weights).sum(1)
    best_RB = paths_PR[costs_PB.argmin(0)].T
    assert torch.equal(found.long(), best_RB)


def test_a_path_of_one_state_is_scalar_rounding_on_the_even_symbols():
    w, weights = draws(64, 20, scale=3.0), draws(64, 20, seed=2).abs()
    even = 2 * (w / 2).round().clamp(-7, 7)
    assert torch.equal(best_path(w, weights, 1, 5), even.to(torch.int8))
    step = torch.full((64,), 0.5).half()
    assert torch.equal(
        nearest_symbols(w, step, TrellisGrid(bits=5, clip_sigmas=1.0), Gptq()), 2 * encode(w, step * 2, 4)
    )


def test_what_stands_beside_a_column_changes_nothing_in_it():
    targets, weights = draws(50, 70, scale=4.0), draws(50, 70, seed=1).abs()
    together = best_path(targets, weights, 16, 6)
    for columns in (slice(0, 1), slice(3, 40)):
        assert torch.equal(best_path(targets[:, columns], weights[:, columns], 16, 6), together[:, columns])


def test_paths_begin_anew_with_each_matrix_and_each_segment():
    grid = TrellisGrid(bits=6, clip_sigmas=6.0, states=8, segment=20)
    w, rows = draws(3, 90), [45, 30, 15]
    step = draws(3, 90, seed=1).abs() * 0.1 + 0.05
    found = column_rounder(step, rows, grid)(w) / step
    for stack in range(3):
        start = 0
        for count in rows:
            for first in range(start, start + count, 20):
                piece = slice(first, min(first + 20, start + count))
                alone = best_path((w / step)[stack, piece, None], step[stack, piece, None].square(), 8, 6)
                assert torch.equal(found[stack, piece].round(), alone[:, 0].float())
                assert follows(alone[:, 0].tolist(), 8)
            start += count


def test_rows_of_small_steps_are_left_the_larger_errors_in_steps():
    w = draws(200, 50, scale=0.3)
    step = torch.where(torch.arange(200) % 2 == 0, 0.02, 0.2).half()
    error = (w / step.float()[:, None] - column_paths(w, step, TrellisGrid(bits=8, clip_sigmas=1.0, states=16))).abs()
    assert error[1::2].mean() < 0.9 * error[::2].mean()


def test_four_states_gain_a_decibel_at_the_same_entropy_and_more_states_more():
    w = draws(256, 400)
    step = torch.full((256,), 0.2).half()
    scalar = encode(w, step * 2, 5)
    gains = []
    for states in (4, 16, 64):
        found = column_paths(w, step, TrellisGrid(bits=6, clip_sigmas=1.0, states=states))
        error, plain = ((w - decode(q, s)).square().mean() for q, s in ((found, step), (scalar, step * 2)))
        gains.append(10 * math.log10(plain / error) + 20 * math.log10(2) * (entropy(scalar) - path_entropy(found)))
    assert gains[0] > 0.9 and gains[0] + 0.08 < gains[1] < gains[2] - 0.05 and gains[2] < 1.53


def entropy(symbols):
    counts = symbols.flatten().to(torch.int64).add(128).bincount().double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum())


def path_entropy(symbols):
    """Of a symbol whose parity is known."""
    odd = (symbols & 1).bool()
    return sum(entropy(symbols[which]) * float(which.float().mean()) for which in (odd, ~odd))


def test_on_a_diagonal_hessian_gptq_finds_the_best_path_of_each_column():
    w = draws(60, 24)
    step = row_steps(w, GRID)
    h = torch.diag(torch.arange(1.0, 25.0))
    for act_order in (False, True):
        assert torch.equal(gptq(w, h, step, GRID, Gptq(act_order=act_order)), column_paths(w, step, GRID))
    assert torch.equal(nearest_symbols(w, step, GRID, Nearest()), column_paths(w, step, GRID))


def test_gptq_along_paths_is_elimination_with_paths_for_rounding(toy):
    w, h = draws(40, 20).double(), toy.correlated_hessian(20, 3).double()
    h += 0.01 * h.diagonal().mean() * torch.eye(20)
    step = row_steps(w.float(), GRID)
    left, inverse = w.clone(), torch.linalg.inv(h)
    expected = torch.zeros(40, 20, dtype=torch.int8)
    for column in range(20):
        own = left[:, column : column + 1]
        expected[:, column : column + 1] = symbols = column_paths(own, step, GRID)
        error = (own - decode(symbols, step)) / inverse[column, column]
        left -= error * inverse[column]
        inverse -= inverse[:, [column]] * inverse[[column]] / inverse[column, column]
        inverse[column, column] = 1.0  # of a column that is done nothing is read any more
    found = gptq(w.float(), h.float(), step, GRID, Gptq(damp=0.0, act_order=False, block=7))
    assert (found == expected).float().mean() > 0.99


def test_a_stack_in_batches_is_each_matrix_by_itself(toy):
    grid = TrellisGrid(bits=6, clip_sigmas=6.0, states=8, segment=16)
    w = draws(2, 56, 24)
    h = torch.stack([toy.correlated_hessian(24, seed) for seed in (1, 2)])
    step = torch.stack([row_steps(each, grid) for each in w])
    together = gptq_batch(w, h, step, grid, Gptq(), ["a", "b"], [40, 16])
    for layer in (0, 1):
        for rows in (slice(0, 40), slice(40, 56)):
            alone = gptq(w[layer, rows], h[layer], step[layer, rows], grid, Gptq())
            assert torch.equal(together[layer, rows], alone)


@pytest.mark.parametrize("seed", range(20))
def test_at_the_same_entropy_the_error_of_outputs_is_less_than_that_of_scalar_gptq(toy, seed):
    shape = (48 + 8 * (seed % 5), 32 + 8 * (seed % 3))
    w, h = draws(*shape, seed=seed), toy.correlated_hessian(shape[1], seed)
    scalar, path = (round_matrix("w", w, h, grid, spec(grid)) for grid in (SCALAR, GRID))
    rates = entropy(scalar.symbols), path_entropy(path.symbols)
    # six decibels a bit, by which what is left of a difference of rates is made up
    assert path.error_gptq * 4 ** (rates[1] - rates[0]) < 0.92 * scalar.error_gptq
    assert abs(rates[1] - rates[0]) < 0.05
    assert path.error_nearest == pytest.approx(
        relative_error(w, decode(encode(w, path.steps * 2, 5), path.steps * 2), h), rel=1e-5
    )


def spec(grid):
    return QuantSpec(attention=grid, mlp=grid, embedding=grid)
