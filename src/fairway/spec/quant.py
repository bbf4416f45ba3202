"""Grid by role, rounding, rotation, codec (recipes D)."""

from dataclasses import dataclass, field
from typing import Literal

from fairway.spec.data import STRICT

CodecName = Literal["smallest", "range", "brotli", "zstd", "lzma"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Uniform, one step a row: step = clip_sigmas * std(row) / (2**(bits-1) - 1) (SDClip, #1394)."""

    __pydantic_config__ = STRICT
    bits: int
    clip_sigmas: float
    scale_floor: float = 1e-10

    def __post_init__(self) -> None:
        """Refuse bits that do not fit a signed byte."""
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be 2..8, got {self.bits}")
        if self.clip_sigmas <= 0:
            raise ValueError(f"clip_sigmas must be positive, got {self.clip_sigmas}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    """Round each weight by itself."""

    __pydantic_config__ = STRICT
    kind: Literal["nearest"] = "nearest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gptq:
    """Round column by column and push each column's error onto the later ones (arXiv 2210.17323)."""

    __pydantic_config__ = STRICT
    kind: Literal["gptq"] = "gptq"
    damp: float = 0.01
    block: int = 128
    act_order: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRotation:
    """Weights are rounded in the basis they were trained in."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hadamard:
    """Four global signed Hadamard rotations at the inputs of the linears (#1695), folded back at load."""

    __pydantic_config__ = STRICT
    kind: Literal["hadamard"] = "hadamard"
    seed: int = 20260416


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantSpec:
    """What happens to each role; every other tensor is kept in half precision."""

    __pydantic_config__ = STRICT
    attention: Grid
    mlp: Grid
    embedding: Grid
    rounding: Nearest | Gptq = field(default_factory=Gptq)
    rotation: NoRotation | Hadamard = field(default_factory=NoRotation)
    codec: CodecName = "smallest"
    """``smallest``: of each stream the range coder's payload or brotli's, whichever is smaller."""
