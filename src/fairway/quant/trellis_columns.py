"""Columns of matrices along a trellis's paths: segments of rows, steps, and what GPTQ asks column by column."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Float16, Int8, Int64
from torch import Tensor

from fairway.quant.grid import encode
from fairway.quant.trellis import best_path
from fairway.quant.trellis_compiled import compiled_best_path
from fairway.quant.trellis_triton import triton_best_path
from fairway.spec.quant import Gptq, Grid, Nearest, QuantileGrid, TrellisGrid

_COLUMNS_HELD = 1 << 25
"""Decisions of paths that are held at a time where nothing else bounds them."""


def column_rounder(
    step_LO: Float[Tensor, "L O"], rows: Sequence[int], grid: TrellisGrid
) -> Callable[[Float[Tensor, "L O"]], Float[Tensor, "L O"]]:
    """A function from columns, one of each of L stacks, to what they are rounded to.

    A stack is of matrices with ``rows`` rows, one below the other, which have paths of their own.
    """
    row_RG = _columns_segments(rows, grid.segment).to(step_LO.device)
    layers, (longest, pieces) = len(step_LO), row_RG.shape
    is_row_RG = row_RG >= 0
    held_RG = row_RG.clamp_min(0)
    # where each row's symbol lies among those of a stack's segments
    place_O = torch.empty(step_LO.shape[1], dtype=torch.int64, device=step_LO.device)
    place_O[row_RG[is_row_RG]] = torch.arange(longest * pieces, device=step_LO.device)[is_row_RG.view(-1)]
    # rows that fill a segment up cost nothing, so the path before them is what it was
    weight_LRG = step_LO[:, held_RG].square() * is_row_RG

    def together(values_LRG: Tensor) -> Tensor:
        return values_LRG.transpose(0, 1).reshape(longest, layers * pieces)

    weight_RB = together(weight_LRG)

    def rounded(w_LO: Tensor) -> Tensor:
        target_RB = together((w_LO / step_LO)[:, held_RG])
        if grid.engine == "compiled":
            find = compiled_best_path
        elif grid.engine == "triton":
            find = triton_best_path
        else:
            find = best_path
        symbol_RB = find(target_RB, weight_RB, grid.states, grid.bits)
        return symbol_RB.view(longest, layers, pieces).transpose(0, 1).reshape(layers, -1)[:, place_O] * step_LO

    return rounded


def _columns_segments(rows: Sequence[int], segment: int) -> Int64[Tensor, "R G"]:
    """Rows of each segment, of a stack of matrices; -1 where it has fewer than the longest."""
    found, start = [], 0
    for count in rows:
        found += list(torch.arange(start, start + count).split(segment))
        start += count
    return torch.nn.utils.rnn.pad_sequence(found, padding_value=-1)


def nearest_symbols(
    w_OI: Float[Tensor, "O I"],
    step_O: Float16[Tensor, " O"],
    grid: Grid | QuantileGrid | TrellisGrid,
    rounding: Nearest | Gptq,
) -> Int8[Tensor, "O I"]:
    """What a recipe without GPTQ stores; with it, what GPTQ is held against.

    That is the nearest symbol of each weight. On a trellis it is the best path of each column; what GPTQ is held
    against there is the nearest even symbol: scalar rounding at the same rate.
    """
    if isinstance(grid, TrellisGrid):
        if not isinstance(rounding, Gptq):
            return column_paths(w_OI, step_O, grid)
        return encode(w_OI, 2 * step_O, grid.bits - 1) * 2
    return encode(w_OI, step_O, grid.bits)


def column_paths(w_OI: Float[Tensor, "O I"], step_O: Float16[Tensor, " O"], grid: TrellisGrid) -> Int8[Tensor, "O I"]:
    """Symbols of the best path of each column, every column by itself: what GPTQ finds where H is diagonal."""
    outputs = len(w_OI)
    held = max(1, _COLUMNS_HELD // (grid.states * outputs))
    found = []
    for w_LO in w_OI.float().T.split(held):
        step_LO = step_O.float().expand_as(w_LO)
        found.append(column_rounder(step_LO, [outputs], grid)(w_LO) / step_LO)
    return torch.cat(found).round().T.to(torch.int8).contiguous()
