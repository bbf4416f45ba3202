"""Rates, decay, schedule, averaging (recipes C)."""

from dataclasses import dataclass, field
from typing import Literal

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
    polynomial: Literal["quintic", "express"] = "quintic"
    """The same polynomial in every step, or Polar Express: one a step (#1344)."""
    row_normalise: bool = True
    """MuonEq-R (#1285): rows to unit norm before Newton-Schulz."""
    products: Literal["torch", "triton"] = "torch"
    """Of a matrix with its own transpose: both triangles by torch, or one by a Triton kernel and its mirror."""
    engine: Literal["replicated", "round_robin", "sharded"] = "replicated"
    """Who orthogonalises what: every rank everything; matrices in turn, updates summed (Muon as first published); or
    gradients reduced and updates gathered by shares of each bank (Parallel Muon, #399)."""
    up_rate: float = 1.0
    """Factor on the rate, and with it on the decay, of the MLPs' first matrices (#1048)."""
    down_rate: float = 1.0
    """The same for their second ones."""

    def __post_init__(self) -> None:
        """Refuse steps that there is no polynomial for, and rates that the engine does not know."""
        if self.polynomial == "express" and self.newton_schulz_steps > 5:
            raise ValueError(f"newton_schulz_steps must be 5 at most for express, got {self.newton_schulz_steps}")
        if self.engine == "replicated" and (self.up_rate, self.down_rate) != (1.0, 1.0):
            raise ValueError("up_rate and down_rate need engine round_robin or sharded")


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
class EmaAverage:
    """Training ends with the running average that ``ema_decay`` describes."""

    __pydantic_config__ = STRICT
    kind: Literal["ema"] = "ema"


@dataclass(frozen=True, slots=True, kw_only=True)
class SwaAverage:
    """Training ends with the mean of snapshots taken while the rate was low (#198; #414 took some and used none)."""

    __pydantic_config__ = STRICT
    kind: Literal["swa"] = "swa"
    every: int = 50
    """Steps between snapshots."""
    below_scale: float = 0.2
    """Snapshots are taken while the rate multiplier is below this."""

    def __post_init__(self) -> None:
        """Refuse a distance that is none."""
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LawaAverage:
    """Training ends with the mean of the latest snapshots (arXiv 2209.14981)."""

    __pydantic_config__ = STRICT
    kind: Literal["lawa"] = "lawa"
    every: int = 100
    """Steps between snapshots."""
    keep: int = 10
    """Snapshots that the mean is of, at most."""

    def __post_init__(self) -> None:
        """Refuse numbers that are none."""
        if self.every < 1 or self.keep < 1:
            raise ValueError(f"every and keep must be at least 1, got {self.every} and {self.keep}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimSpec:
    """One multiplier for all rates: flat, then linear down to ``min_lr`` over the last fraction of the budget."""

    __pydantic_config__ = STRICT
    muon: MuonSpec
    adam: AdamSpec
    warmdown_fraction: float = 0.75
    warmdown_steps: int = 0
    """When given, the decline takes as long as so many steps of the mean duration so far, instead of the fraction."""
    min_lr: float = 0.0
    grad_clip: float = 0.3
    """Global norm of the reduced gradient; 0 switches clipping off."""
    ema_decay: float = 0.9965
    averaging: EmaAverage | SwaAverage | LawaAverage = field(default_factory=EmaAverage)

    def __post_init__(self) -> None:
        """Refuse fractions that are none."""
        if not 0.0 <= self.warmdown_fraction <= 1.0:
            raise ValueError(f"warmdown_fraction must be 0..1, got {self.warmdown_fraction}")
        if self.warmdown_steps < 0:
            raise ValueError(f"warmdown_steps must be 0 or more, got {self.warmdown_steps}")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"ema_decay must be 0 or more and below 1, got {self.ema_decay}")
