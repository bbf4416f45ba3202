r"""Trellis-coded rounding: a column's symbols are one path of least error, not each the nearest (pure).

The grid of a row is that of ``grid``, with a step half as long as scalar rounding has at the same rate: a weight is a
symbol times its row's step. Symbols fall into four subsets by their two lowest bits. The state before a row says
whether its symbol is even or odd; which of the two subsets of that parity it is from says which state follows::

    state  even --+-- symbol mod 4 = 0 --> one state          each state has two ways in,
                  +-- symbol mod 4 = 2 --> another            the better of which is kept for each row

The even symbols alone are a scalar grid of double step, so the entropy of a symbol, its parity being known, is a scalar
symbol's; but the path may choose between them, and the error falls by up to 1.33 dB, of the 1.53 that all
of vector quantization can give. (Marcellin and Fischer, IEEE Trans. Commun. 38, 1990; Fischer and Wang, IEEE Trans. IT
38, 1992.) The states' codes are Ungerboeck's for amplitude modulation (IEEE Trans. IT 28, 1982, table I).

Where GPTQ rounds one column at a time, all rows of it are known beforehand, and what a row's error costs is its square
whatever the row: so the path runs down the column, and the feedback to later columns is GPTQ's own. A path begins in
state 0 and ends in whichever state is best; it begins anew with every matrix and after ``segment`` rows.
"""

import math

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor

from fairway.quant.grid import largest_symbol

_TRELLIS_CODES = {
    1: (0o0, 0o0),
    4: (0o5, 0o2),
    8: (0o13, 0o4),
    16: (0o23, 0o4),
    32: (0o45, 0o10),
    64: (0o103, 0o24),
    128: (0o235, 0o126),
    256: (0o515, 0o362),
}
"""Parity checks h0 and h1 of each number of states; that of one is no code, and its path all even symbols."""


def trellis_checks(states: int) -> tuple[int, int]:
    """What a symbol's lowest bit and its second one each add to the next state, beyond the state's own shift."""
    h0, h1 = _TRELLIS_CODES[states]
    return h0 >> 1, h1 >> 1


def trellis_next(states: int) -> Int64[Tensor, "S 2"]:
    """The state after a symbol, by the state before, whose lowest bit is the symbol's, and the symbol's second bit."""
    h0, h1 = trellis_checks(states)
    state_S1 = torch.arange(states)[:, None]
    return (state_S1 >> 1) ^ ((state_S1 & 1) * h0) ^ (torch.arange(2) * h1)


def best_path(
    target_RB: Float[Tensor, "R B"], weight_RB: Float[Tensor, "R B"], states: int, bits: int
) -> Int8[Tensor, "R B"]:
    """Symbols of each column's path of least sum of weight times (target - symbol)^2, all columns at once (Viterbi).

    Targets are in steps. The same columns give the same symbols, whatever stands beside them; of equal paths that with
    symbols of subsets 0 and 1.
    """
    rows, columns = target_RB.shape
    device, largest = target_RB.device, largest_symbol(bits)
    subset_41 = torch.arange(4, device=device)[:, None]
    # the nearest of each subset that the grid has
    symbol_R4B = ((target_RB[:, None] - subset_41) / 4).round_().mul_(4).add_(subset_41)
    symbol_R4B = symbol_R4B.clamp_(-largest + (subset_41 + largest) % 4, largest - (largest - subset_41) % 4)
    cost_R4B = (target_RB[:, None] - symbol_R4B).square_().mul_(weight_RB[:, None])

    # the two ways into each state: by symbols whose second bit is 0, and 1. Upper states come from odd ones.
    before_2S = trellis_next(states).argsort(dim=0).T.contiguous().to(device)
    parities = min(2, states)
    ways_2SB = torch.empty(2, states, columns, device=device)
    costs = cost_R4B.view(rows, 2, 2, 1, columns)[:, :, :parities].unbind()
    ways_2PHB = ways_2SB.view(2, parities, states // parities, columns)
    ways, (first_SB, second_SB) = ways_2SB.view(2 * states, columns), ways_2SB.unbind()
    second_RSB = torch.empty(rows, states, columns, dtype=torch.bool, device=device)
    least_SB = torch.full((states, columns), math.inf, device=device)
    least_SB[0] = 0.0
    for cost_221B, second in zip(costs, second_RSB.unbind(), strict=True):
        torch.index_select(least_SB, 0, before_2S.view(-1), out=ways)
        ways_2PHB.add_(cost_221B)
        torch.lt(second_SB, first_SB, out=second)
        torch.minimum(first_SB, second_SB, out=least_SB)

    state_1B = least_SB.argmin(0, keepdim=True)
    taken: list[Tensor] = []
    first_S, second_S = before_2S.unbind()
    for second in second_RSB.flip(0).unbind():
        is_second_1B = second.gather(0, state_1B)
        state_1B = torch.where(is_second_1B, second_S.take(state_1B), first_S.take(state_1B))
        taken.append(state_1B & 1 | is_second_1B.long() << 1)
    return symbol_R4B.gather(1, torch.stack(taken[::-1]))[:, 0].to(torch.int8)
