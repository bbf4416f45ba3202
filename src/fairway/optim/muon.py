"""Muon: momentum whose singular values are set to about one (Jordan et al. 2024), batched over banks of matrices.

Every rank holds the same reduced gradients and makes the same step; nothing is communicated here. ``optim.shares``
divides the work among ranks.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fairway.kernels.polar import POLAR_EXPRESS, POLAR_QUINTIC, orthogonalize
from fairway.kernels.symmetric import orthogonalize_symmetric
from fairway.spec.optim import MuonSpec

_MUON_ROW_EPS = 1e-7


def normalise_rows(update: Float[Tensor, "*M O I"]) -> Float[Tensor, "*M O I"]:
    """Each row divided by its Euclidean norm, but by no less than 1e-7 (MuonEq-R, #1285)."""
    return update / torch.linalg.vector_norm(update, dim=-1, keepdim=True).clamp_min(_MUON_ROW_EPS)


def shape_factor(rows: int, columns: int) -> float:
    """Scale of an orthogonalised update: sqrt(max(1, rows / columns)) (recipes C.1)."""
    return float(max(1.0, rows / columns) ** 0.5)


class Muon:
    """Momentum, Nesterov, rows to unit norm, Newton-Schulz; weight decay is decoupled and comes first.

    ``buffer <- momentum * buffer + gradient``; the direction is ``gradient + momentum * buffer``;
    ``W <- W * (1 - lr * decay) - lr * sqrt(max(1, rows / columns)) * orthogonalised direction``.
    """

    def __init__(self, banks: Mapping[str, nn.Parameter], spec: MuonSpec) -> None:
        self._spec = spec
        self._banks: list[Tensor] = list(banks.values())
        self._buffers = [torch.zeros_like(bank, memory_format=torch.contiguous_format) for bank in self._banks]

    @torch.no_grad()
    def step(self, *, lr_scale: float, momentum: float) -> None:
        """Move by the gradients that the banks hold."""
        gradients = [bank.grad for bank in self._banks if bank.grad is not None]
        assert len(gradients) == len(self._banks), "a bank without a gradient would stay where it is"
        if not gradients:
            return
        torch._foreach_mul_(self._buffers, momentum)
        torch._foreach_add_(self._buffers, gradients)
        directions = torch._foreach_add(gradients, self._buffers, alpha=momentum)
        rate = self._spec.lr * lr_scale
        torch._foreach_mul_(self._banks, 1.0 - rate * self._spec.weight_decay)
        for bank, direction in zip(self._banks, directions, strict=True):
            if self._spec.row_normalise:
                direction = normalise_rows(direction)
            steps = self._spec.newton_schulz_steps
            polynomials = POLAR_EXPRESS[:steps] if self._spec.polynomial == "express" else (POLAR_QUINTIC,) * steps
            if self._spec.products == "triton":
                update = orthogonalize_symmetric(direction, polynomials)
            else:
                update = orthogonalize(direction, polynomials)
            bank.add_(update, alpha=-rate * shape_factor(bank.shape[-2], bank.shape[-1]))

    def reset(self) -> None:
        """Forget the momentum, as if no step had been made."""
        torch._foreach_zero_(self._buffers)

    def state_tensors(self) -> list[Tensor]:
        """Momentum buffers, one a bank; all zero before the first step and after ``reset``."""
        return self._buffers
