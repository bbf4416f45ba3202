"""Paths of least cost through a trellis, each by one program: rows forwards, then the symbols backwards (Triton).

A program has one column; what each state costs so far stays on the chip. No torch form stands beside it, as kernels
of the model have one: ``quant.trellis`` computes the same, and whoever asks says which of the two is to.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from fairway.kernels.operators import TritonKernel, constexpr, operand, tl


@TritonKernel
def _viterbi_column(
    target: operand,
    weight: operand,
    near: operand,
    symbol: operand,
    rows: operand,
    columns: operand,
    largest: operand,
    STATES: constexpr,
    CHECK_0: constexpr,
    CHECK_1: constexpr,
) -> None:
    column = tl.program_id(0).to(tl.int64)
    near += column * rows * STATES
    state = tl.arange(0, STATES)
    # the symbol that leads to a state is odd for the upper half, and the state before has its parity for lowest bit
    odd = state * 2 // STATES
    back = state ^ odd * CHECK_0
    first_from, second_from = back << 1 | odd, (back ^ CHECK_1) << 1 | odd
    first_low, first_high = -largest + (odd + largest) % 4, largest - (largest - odd) % 4
    second_low, second_high = -largest + (odd + 2 + largest) % 4, largest - (largest - odd - 2) % 4
    least = tl.where(state == 0, 0.0, float("inf"))
    for row in range(rows):
        at = row * columns + column
        t = tl.load(target + at)
        w = tl.load(weight + at)
        # the sum leaves a float32 no bits below one: rounded to nearest, halves to even. What is too large for that
        # is cut to the grid in either case. A quarter is exact, where Triton's quotients are not.
        first = (((t - odd) * 0.25 + 12582912.0) - 12582912.0) * 4.0 + odd
        second = (((t - (odd + 2)) * 0.25 + 12582912.0) - 12582912.0) * 4.0 + (odd + 2)
        first = tl.minimum(tl.maximum(first, first_low.to(tl.float32)), first_high.to(tl.float32))
        second = tl.minimum(tl.maximum(second, second_low.to(tl.float32)), second_high.to(tl.float32))
        first_cost = tl.gather(least, first_from, 0) + (t - first) * (t - first) * w
        second_cost = tl.gather(least, second_from, 0) + (t - second) * (t - second) * w
        is_second = second_cost < first_cost
        least = tl.where(is_second, second_cost, first_cost)
        tl.store(near + row * STATES + state, tl.where(is_second, second, first).to(tl.int8))
    # what other threads have stored is read from here on
    tl.debug_barrier()
    here = tl.argmin(least, 0)
    for step in range(rows):
        row = rows - 1 - step
        found = tl.load(near + row * STATES + here).to(tl.int32)
        tl.store(symbol + row * columns + column, found.to(tl.int8))
        # a symbol's two lowest bits say where it came from
        parity = found & 1
        here = (here ^ parity * CHECK_0 ^ (found >> 1 & 1) * CHECK_1) << 1 | parity


def viterbi_columns(
    target_RB: Float[Tensor, "R B"], weight_RB: Float[Tensor, "R B"], states: int, checks: tuple[int, int], largest: int
) -> Int8[Tensor, "R B"]:
    """Symbols of each column's best path; ``checks`` are what a symbol's two lowest bits add to the next state."""
    target_RB, weight_RB = target_RB.float().contiguous(), weight_RB.float().contiguous()
    rows, columns = target_RB.shape
    symbol_RB = torch.empty(rows, columns, dtype=torch.int8, device=target_RB.device)
    # torch keeps the memory of a column's scratch and hands the next column the same
    near_BRS = torch.empty(columns, rows, states, dtype=torch.int8, device=target_RB.device)
    # One warp: ``gather`` then goes from register to register, and no warp waits for another. No fusion: a sum that is
    # fused with a product is rounded once, torch's twice, and of two paths that are all but equal the other would win.
    _viterbi_column[(columns,)](
        target_RB,
        weight_RB,
        near_BRS,
        symbol_RB,
        rows,
        columns,
        largest,
        states,
        *checks,
        num_warps=1,
        enable_fp_fusion=False,
    )
    return symbol_RB
