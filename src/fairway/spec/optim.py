"""Rates, decay, schedule, averaging (recipes C)."""

from dataclasses import dataclass

from fairway.spec.data import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class MuonSpec:
    """Orthogonalised momentum for matrices."""

    __pydantic_config__ = STRICT
    lr: float = 0.026
    momentum: float = 0.97
    momentum_start: float = 0.92
    momentum_warmup_steps: int = 1500
    weight_decay: float = 0.095
    newton_schulz_steps: int = 5
    row_normalise: bool = True
    """MuonEq-R (#1285): rows to unit norm before Newton-Schulz."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamSpec:
    """AdamW for the token embedding and for everything that is no matrix."""

    __pydantic_config__ = STRICT
    embed_lr: float = 0.03
    scalar_lr: float = 0.02
    embed_weight_decay: float = 0.085
    scalar_weight_decay: float = 0.02
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-8


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimSpec:
    """One multiplier for all rates: flat, then linear down to ``min_lr`` over the last fraction of the budget."""

    __pydantic_config__ = STRICT
    muon: MuonSpec
    adam: AdamSpec
    warmdown_fraction: float = 0.75
    min_lr: float = 0.0
    grad_clip: float = 0.3
    """Global norm of the reduced gradient; 0 switches clipping off."""
    ema_decay: float = 0.9965

    def __post_init__(self) -> None:
        """Refuse fractions that are none."""
        if not 0.0 <= self.warmdown_fraction <= 1.0:
            raise ValueError(f"warmdown_fraction must be 0..1, got {self.warmdown_fraction}")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must be 0 or more and below 1, got {self.ema_decay}")
