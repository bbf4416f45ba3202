import math

import pytest
import torch

from fairway.quant.forecast import symbol_bits
from fairway.quant.trellis import best_path
from fairway.quant.trellis_gain import trellis_bits_less, trellis_error
from fairway.spec.quant import TRELLIS_STATES, Grid, TrellisGrid


def on_a_trellis(states: int, clip: float, rows: int) -> tuple[float, float]:
    """Error over that of scalar rounding, and entropy given the parity, of Gaussian weights."""
    w_RB = torch.randn(rows, 40_000 // rows, generator=torch.Generator().manual_seed(0))
    step = clip / 63
    q_RB = best_path(w_RB / step, torch.ones_like(w_RB), states, 7).long()
    bits = 0.0
    for parity in (0, 1):
        halves = (q_RB >> 1)[(q_RB & 1) == parity]
        shares = (halves - halves.min()).bincount() / q_RB.numel()
        own = shares[shares > 0]
        bits -= float((own * (own / own.sum()).log2()).sum())
    return float((q_RB * step - w_RB).square().mean()) / ((2 * step) ** 2 / 12), bits


@pytest.mark.parametrize("states, clip, rows", [(4, 13.0, 100), (8, 13.0, 40), (8, 32.0, 250), (16, 25.0, 100)])
def test_the_table_is_what_paths_of_gaussian_weights_lose_and_take(states, clip, rows):
    error, bits = on_a_trellis(states, clip, rows)
    assert trellis_error(states, rows) == pytest.approx(error, rel=0.02)
    assert symbol_bits(TrellisGrid(bits=7, clip_sigmas=clip, states=states)) == pytest.approx(bits, abs=0.02)


def test_at_equal_rate_a_trellis_saves_what_theory_says():
    gains = []
    for states in TRELLIS_STATES:
        # error to bits: half a bit a factor of four; plus what the symbols themselves take less
        gains.append(-0.5 * math.log2(trellis_error(states, 10**6)) + trellis_bits_less(states, 0.42))
    assert gains == sorted(gains)
    assert 0.16 < gains[0] and gains[-1] < 0.2546  # bits from scalar rounding to the bound


def test_a_clamped_trellis_grid_takes_fewer_bits():
    wide = symbol_bits(TrellisGrid(bits=7, clip_sigmas=13.0))
    assert symbol_bits(Grid(bits=6, clip_sigmas=13.0)) == pytest.approx(wide, abs=0.05)
    assert symbol_bits(TrellisGrid(bits=4, clip_sigmas=1.0)) < math.log2(7)
