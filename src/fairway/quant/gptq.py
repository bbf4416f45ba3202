"""Round column by column and push each column's error onto the columns still to come (arXiv 2210.17323; pure).

With E = W - W_rounded and H = X^T X, the output error of a linear is tr(E H E^T). Once column j is rounded, the
best change of the later columns is minus its error times row j of U over U_jj, where U is the upper factor of
H^-1 = U^T U::

            done   j   block (128)   rest
          +------+---+-------------+--------------+
      W_T |  ..  | e | -= U_j. x e |  -= U^T E    |     one rank-1 update a column inside the block,
          +------+---+-------------+--------------+     one matrix product a block for the rest

The working copy is transposed, so that a column is contiguous: three times faster on a CPU.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Float16, Int8
from torch import Tensor

from fairway.errors import GateError
from fairway.quant.grid import encode, largest_symbol
from fairway.quant.trellis_columns import column_rounder
from fairway.spec.quant import Gptq, Grid, QuantileGrid, TrellisGrid


def inverse_factor(h_II: Float[Tensor, "I I"]) -> Float[Tensor, "I I"]:
    """Upper triangular U with H^-1 = U^T U, from one Cholesky factor and one triangular solve.

    The Cholesky factor of H with rows and columns in reverse order, reversed back, is an upper R with H = R R^T;
    U is R^-1. ``GateError`` if H is not positive definite.
    """
    lower_II, failed = torch.linalg.cholesky_ex(h_II.flip(0, 1))
    if failed.item():
        raise GateError(
            f"Hessian is not positive definite (leading minor {int(failed)}); damp more or calibrate longer"
        )
    upper_II = lower_II.flip(0, 1)
    return torch.linalg.solve_triangular(upper_II, torch.eye(len(h_II)).to(h_II), upper=True)


def gptq(
    w_OI: Float[Tensor, "O I"],
    h_II: Float[Tensor, "I I"],
    step_O: Float16[Tensor, " O"],
    grid: Grid | QuantileGrid | TrellisGrid,
    rounding: Gptq,
) -> Int8[Tensor, "O I"]:
    """Symbols of least output error, greedily, on a grid; where H is diagonal those of ``encode``, or ``column_paths``.

    Inputs that were never active (H_ii = 0) get weight zero; then ``damp`` times the mean of the diagonal is
    added to it. With ``act_order`` the columns of largest diagonal go first, while most columns can still
    make up for them.
    """
    h_II = h_II.float().clone()
    w_IO = w_OI.float().T.contiguous()
    if w_IO.data_ptr() == w_OI.data_ptr():  # a transposed argument is contiguous already
        w_IO = w_IO.clone()
    diagonal_I = h_II.diagonal()
    dead_I = diagonal_I == 0
    diagonal_I[dead_I] = 1.0
    w_IO[dead_I] = 0.0
    diagonal_I += rounding.damp * diagonal_I.mean()
    order_I = torch.arange(len(h_II), device=h_II.device)
    if rounding.act_order:
        order_I = diagonal_I.argsort(descending=True, stable=True)
        h_II, w_IO = h_II[order_I][:, order_I], w_IO[order_I]

    u_II = inverse_factor(h_II)
    step = step_O.float()
    largest = largest_symbol(grid.bits)
    if isinstance(grid, TrellisGrid):
        by_path = column_rounder(step[None], [len(step)], grid)
    inputs = len(w_IO)
    for start in range(0, inputs, rounding.block):
        stop = min(start + rounding.block, inputs)
        error_BO = torch.empty_like(w_IO[start:stop])
        # a block of U as its own tensor: its rows are read one by one
        u_BB = u_II[start:stop, start:stop].contiguous()
        gains_B = u_BB.diagonal().tolist()
        for row, gain in enumerate(gains_B):
            w_O = w_IO[start + row]
            if isinstance(grid, TrellisGrid):
                rounded_O = by_path(w_O[None])[0]
            else:
                rounded_O = (w_O / step).round_().clamp_(-largest, largest).mul_(step)
            error_O = torch.sub(w_O, rounded_O, out=error_BO[row]).div_(gain)
            # what is stored is the value that was rounded; encode finds the same symbol again
            w_IO[start + row] = rounded_O
            w_IO[start + row + 1 : stop].addr_(u_BB[row, row + 1 :], error_O, alpha=-1.0)
        w_IO[stop:].addmm_(u_II[start:stop, stop:].T, error_BO, alpha=-1.0)

    rounded_IO = torch.empty_like(w_IO)
    rounded_IO[order_I] = w_IO
    return encode(rounded_IO.T, step_O, grid.bits)


def gptq_batch(
    w_LOI: Float[Tensor, "L O I"],
    h_LII: Float[Tensor, "L I I"],
    step_LO: Float16[Tensor, "L O"],
    grid: Grid | QuantileGrid | TrellisGrid,
    rounding: Gptq,
    names: Sequence[str],
    rows: Sequence[int],
) -> Int8[Tensor, "L O I"]:
    """What ``gptq`` gives for each matrix, in one pass over the columns of all; ``names`` are for error messages.

    Matrices may be stacks of some that read one input, with so many ``rows``: where symbols of a column hang together,
    they do within each of those.

    A GPU waits for the next column and not for the width of this one, so a batch costs it what one matrix costs. A
    CPU gains nothing but on matrices so small that it waits, too.
    """
    h_LII = h_LII.float().clone()
    diagonal_LI = h_LII.diagonal(dim1=1, dim2=2)
    dead_LI = diagonal_LI == 0
    diagonal_LI[dead_LI] = 1.0
    diagonal_LI += rounding.damp * diagonal_LI.mean(1, keepdim=True)
    w_ILO = w_LOI.float().permute(2, 0, 1).masked_fill(dead_LI.T[:, :, None], 0.0)  # a copy, contiguous
    if rounding.act_order:
        order_LI1 = diagonal_LI.argsort(dim=1, descending=True, stable=True)[:, :, None]
        h_LII = h_LII.take_along_dim(order_LI1, 1).take_along_dim(order_LI1.mT, 2)
        w_ILO = w_ILO.take_along_dim(order_LI1.transpose(0, 1), 0)

    lower_LII, failed_L = torch.linalg.cholesky_ex(h_LII.flip(1, 2))
    for name, failed in zip(names, failed_L.tolist(), strict=True):
        if failed:
            raise GateError(
                f"tensor {name}: Hessian is not positive definite (leading minor {failed});"
                " damp more or calibrate longer"
            )
    eye_II = torch.eye(h_LII.shape[1]).to(h_LII)
    u_LII = torch.linalg.solve_triangular(lower_LII.flip(1, 2), eye_II, upper=True)
    step_LO = step_LO.float()
    largest = largest_symbol(grid.bits)
    if isinstance(grid, TrellisGrid):
        by_path = column_rounder(step_LO, rows, grid)
    inputs = len(w_ILO)
    for start in range(0, inputs, rounding.block):
        stop = min(start + rounding.block, inputs)
        error_BLO = torch.empty_like(w_ILO[start:stop])
        # a block of U as its own tensor: its rows are read one by one
        u_BBL1 = u_LII[:, start:stop, start:stop, None].movedim(0, 2).contiguous()
        for row in range(stop - start):
            w_LO = w_ILO[start + row]
            if isinstance(grid, TrellisGrid):
                rounded_LO = by_path(w_LO)
            else:
                rounded_LO = (w_LO / step_LO).round_().clamp_(-largest, largest).mul_(step_LO)
            error_LO = torch.sub(w_LO, rounded_LO, out=error_BLO[row]).div_(u_BBL1[row, row])
            w_ILO[start + row] = rounded_LO
            w_ILO[start + row + 1 : stop].addcmul_(u_BBL1[row, row + 1 :], error_LO, value=-1.0)
        for layer, u_II in enumerate(u_LII):
            w_ILO[stop:, layer].addmm_(u_II[start:stop, stop:].T, error_BLO[:, layer], alpha=-1.0)

    if rounding.act_order:
        w_ILO = w_ILO.take_along_dim(order_LI1.argsort(dim=1).transpose(0, 1), 0)
    return (w_ILO / step_LO).round().permute(1, 2, 0).to(torch.int8)


def output_energy(w_OI: Float[Tensor, "O I"], h_II: Float[Tensor, "I I"]) -> float:
    """tr(W H W^T): what the outputs of a linear have of squares."""
    return float((w_OI @ h_II * w_OI).sum())


def relative_error(w_OI: Float[Tensor, "O I"], approx_OI: Float[Tensor, "O I"], h_II: Float[Tensor, "I I"]) -> float:
    """tr(E H E^T) / tr(W H W^T) for E = W - approx: the share of the output's energy that is lost; 0 for W = 0."""
    total = output_energy(w_OI.float(), h_II)
    return output_energy(w_OI.float() - approx_OI.float(), h_II) / total if total > 0 else 0.0
