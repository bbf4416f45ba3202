"""Low-rank corrections of the matrices that rounding hurt most (LQER, arXiv 2402.02446; #1797, recipes D.5).

E = W - W_rounded is nearly A B with A of few columns: its first singular vectors. Both factors are rounded too, A to
two bits with one step, B to four bits with one step for each 64 entries, and the weights that are loaded are
W_rounded + A B. They lie in the artifact as matrices of symbols, one row a step::

    NAME.left    (1, O r)            symbols -2..1, step max|A| / 1.5
    NAME.right   (r I / 64, 64)      symbols -8..7, steps max|B| / 7.5

The records take the vectors of E itself. What a linear loses is tr(E H E^T), so that the vectors of E L, for
H = L L^T, are the better ones: ``weighted``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16, Int8
from torch import Tensor

from fairway.quant.gptq import relative_error
from fairway.runtime.events import EventLog
from fairway.spec.quant import Lqer

LQER_BITS = {".left": 3, ".right": 5}
"""Bits of a symmetric grid that holds each factor's symbols, by the end of its name."""

_LQER_GROUP = 64
_LQER_SMALLEST_STEP = 2.0**-24
_LQER_DAMP = 0.01


@dataclass(frozen=True, slots=True)
class Residual:
    """A matrix as it was and as it is rounded, in the basis in which it was rounded, and its inputs' Hessian."""

    w_OI: Float[Tensor, "O I"]
    rounded_OI: Float[Tensor, "O I"]
    h_II: Float[Tensor, "I I"]


@dataclass(frozen=True, slots=True)
class Factor:
    """A factor on its grid, as it lies in the artifact."""

    symbols: Int8[Tensor, "G N"]
    steps: Float16[Tensor, " G"]


def low_rank(
    error_OI: Float[Tensor, "O I"], h_II: Float[Tensor, "I I"], lqer: Lqer
) -> tuple[Float[Tensor, "O r"], Float[Tensor, "r I"]]:
    """A and B of least ||(E - A B) L|| with H = L L^T, or of least ||E - A B||; A bears the singular values."""
    if not lqer.weighted:
        u, s, vh = torch.linalg.svd(error_OI, full_matrices=False)
        return u[:, : lqer.rank] * s[: lqer.rank], vh[: lqer.rank]
    damped_II = h_II + _LQER_DAMP * h_II.diagonal().mean() * torch.eye(len(h_II))
    lower_II = torch.linalg.cholesky(damped_II)
    u, s, vh = torch.linalg.svd(error_OI @ lower_II, full_matrices=False)
    right = torch.linalg.solve_triangular(lower_II, vh[: lqer.rank], upper=False, left=False)
    scale = right.norm(dim=1)
    return u[:, : lqer.rank] * s[: lqer.rank] * scale, right / scale[:, None]


def round_factors(left_OR: Float[Tensor, "O r"], right_RI: Float[Tensor, "r I"]) -> tuple[Factor, Factor]:
    """Both factors on their grids."""
    size = _LQER_GROUP if right_RI.numel() % _LQER_GROUP == 0 else right_RI.shape[1]
    return _lqer_factor(left_OR.reshape(1, -1), 2), _lqer_factor(right_RI.reshape(-1, size), 8)


def _lqer_factor(values_GN: Float[Tensor, "G N"], below: int) -> Factor:
    """Symbols from ``-below`` to ``below - 1``; the largest absolute value is half a symbol short of ``-below``."""
    steps = (values_GN.abs().amax(1) / (below - 0.5)).clamp_min(_LQER_SMALLEST_STEP).half()
    symbols = (values_GN / steps.float()[:, None]).round().clamp(-below, below - 1)
    return Factor(symbols.to(torch.int8), steps)


def product(left: Factor, right: Factor, outputs: int, inputs: int) -> Float[Tensor, "O I"]:
    """A B of factors that lie as the artifact has them."""
    a_OR = (left.symbols.float() * left.steps.float()[:, None]).reshape(outputs, -1)
    b_RI = (right.symbols.float() * right.steps.float()[:, None]).reshape(-1, inputs)
    return a_OR @ b_RI


@torch.no_grad()
def corrections(residuals: Mapping[str, Residual], lqer: Lqer, events: EventLog | None) -> dict[str, Factor]:
    """Both factors of the ``top`` matrices of largest ||E||, by the names that the artifact gives them."""
    norms = {name: float((r.w_OI - r.rounded_OI).norm()) for name, r in residuals.items()}
    found: dict[str, Factor] = {}
    for name in sorted(norms, key=lambda name: -norms[name])[: lqer.top]:
        residual = residuals[name]
        left, right = round_factors(*low_rank(residual.w_OI - residual.rounded_OI, residual.h_II, lqer))
        found |= {f"{name}.left": left, f"{name}.right": right}
        if events is not None:
            corrected_OI = residual.rounded_OI + product(left, right, *residual.w_OI.shape)
            events.emit(
                "correction",
                name=name,
                error_before=relative_error(residual.w_OI, residual.rounded_OI, residual.h_II),
                error_after=relative_error(residual.w_OI, corrected_OI, residual.h_II),
            )
    return found
