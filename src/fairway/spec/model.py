"""Sizes and mechanisms of the one forward (recipes B.5)."""

from dataclasses import dataclass, field
from typing import Literal

from fairway.spec.data import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class NoLoops:
    """Every layer runs once."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loops:
    """Depth recurrence: layers ``first..last`` run ``1 + extra`` times once a fraction of training is over (#1394)."""

    __pydantic_config__ = STRICT
    kind: Literal["loops"] = "loops"
    first: int
    last: int
    extra: int = 2
    start_fraction: float = 0.35


@dataclass(frozen=True, slots=True, kw_only=True)
class OneLane:
    """Attention, then MLP, on one residual stream."""

    __pydantic_config__ = STRICT
    kind: Literal["one"] = "one"


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoLanes:
    """From layer ``start`` on attention and MLP run side by side on two residual lanes (#1529, split as #1530)."""

    __pydantic_config__ = STRICT
    kind: Literal["two"] = "two"
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A decoder with tied embedding, gated U-Net skips and banked weights."""

    __pydantic_config__ = STRICT
    vocab_size: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    mlp_width: int
    rope_dims: int = 16
    """Leading dimensions of a head that rotate (partial RoPE)."""
    rope_base: float = 10_000.0
    qk_gain: float = 5.0
    softcap: float = 30.0
    xsa_last: int = 0
    """Exclusive self attention on so many last layers; 0 switches it off."""
    ln_scale: bool = True
    """Scale a layer's normalised input by 1/sqrt(layer + 1)."""
    negative_slope: float = 0.5
    """Of the leaky ReLU that is squared in the MLP."""
    embedding_std: float = 0.005
    loops: NoLoops | Loops = field(default_factory=NoLoops)
    lanes: OneLane | TwoLanes = field(default_factory=OneLane)

    def __post_init__(self) -> None:
        """Refuse shapes that do not divide and layers that do not exist."""
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if self.rope_dims % 2 or not 0 <= self.rope_dims <= self.head_width:
            raise ValueError(f"rope_dims must be even and at most {self.head_width}, got {self.rope_dims}")
        if not 0 <= self.xsa_last <= self.layers:
            raise ValueError(f"xsa_last must be 0..{self.layers}, got {self.xsa_last}")
        if isinstance(self.loops, Loops):
            if not 0 <= self.loops.first <= self.loops.last < self.layers:
                raise ValueError(
                    f"loops must lie in layers 0..{self.layers - 1}, got {self.loops.first}..{self.loops.last}"
                )
            if self.loops.extra < 1:
                raise ValueError(f"loops.extra must be at least 1, got {self.loops.extra}")
            if not 0.0 <= self.loops.start_fraction <= 1.0:
                raise ValueError(f"loops.start_fraction must be 0..1, got {self.loops.start_fraction}")
        if isinstance(self.lanes, TwoLanes) and not 0 < self.lanes.start < self.layers:
            raise ValueError(f"lanes.start must be 1..{self.layers - 1}, got {self.lanes.start}")

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Channels of all key heads together."""
        return self.kv_heads * self.head_width
