"""Batch, steps, seconds, replay."""

from dataclasses import dataclass, field
from typing import Literal

from fairway.spec.data import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class NoReplay:
    """Training ends with the loop."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LateReplay:
    """Keep the last batches while the rate is low, then run over them again (PR #445), inside the budget."""

    __pydantic_config__ = STRICT
    kind: Literal["late"] = "late"
    start_scale: float = 0.2
    """Batches are kept while the rate multiplier is below this."""
    keep: int = 100
    epochs: int = 2
    lr_scale: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class NoRounding:
    """Training multiplies with the weights as they are."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LateRounding:
    """While the rate is low, the forward multiplies with rounded matrices and the gradient passes through (C.6).

    In the records that have it, compilation had fixed the switch beforehand and nothing was rounded (#315, #1019).
    """

    __pydantic_config__ = STRICT
    kind: Literal["late"] = "late"
    below_scale: float = 0.15
    """On from the first step whose rate multiplier is below this."""
    bits: int = 6
    scale_floor: float = 0.0
    """Least step of a row's grid."""

    def __post_init__(self) -> None:
        """Refuse grids that have no levels."""
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be 2..8, got {self.bits}")
        if self.scale_floor < 0.0:
            raise ValueError(f"scale_floor must be 0 or more, got {self.scale_floor}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoFreezing:
    """Every layer learns to the end."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class LateFreezing:
    """While the rate is low, the first half of the layers stays as it is, and its weights cost no backward (#1048)."""

    __pydantic_config__ = STRICT
    kind: Literal["late"] = "late"
    below_scale: float = 0.3
    """On from the first step whose rate multiplier is below this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """How much is learned from, and for how long."""

    __pydantic_config__ = STRICT
    context: int
    """Tokens after which a packed document is cut, and the row length of contiguous batches."""
    batch_tokens: int
    """Tokens of one optimizer step, all ranks and micro-batches together."""
    micro_batch_tokens: int
    """Tokens of one forward on one rank."""
    batching: Literal["packed", "contiguous", "shuffled", "strided"] = "packed"
    """Whole documents kept apart, the stream as it is, windows in random order, in coprime strides (recipes A.6)."""
    short_documents_first: bool = False
    """Shards in the order of their mean document length (#212's curriculum)."""
    prefetch: int = 0
    """Micro-batches that a thread makes beforehand; 0 for none."""
    budget_s: float
    """Wall-clock seconds for training, calibration and replay included."""
    reserve_s: float
    """Seconds of the budget kept for calibration and replay."""
    steps: int | None = None
    """Progress is counted in these steps when given (and is then reproducible), in seconds otherwise."""
    warmup_steps: int = 20
    """Steps that are run and then undone, so that compilation is outside the clock."""
    compile: bool | Literal["blocks"] = True
    """The loss as one graph in each loop state; or each kind of ``blocks`` by itself, for a first step in less time.

    Between blocks, what the compiler could fuse over their borders is lost.
    """
    mix_order_reduction: bool = False
    """Let the compiler fuse reductions over rows with those over columns in one kernel.

    On torch 2.11 the kernels so made of this model's scales and norms spill registers and cost 6 of 141 ms a step
    (pull requests 1105 and 1420); later ones fuse less. Pinned, so that a run does not hang on an environment variable.
    """
    threads: int = 0
    """CPU threads of one process, 0 for torch's own choice; sums depend on it, so reproducible recipes set it."""
    calibration_batches: int = 16
    """Micro-batches of training tokens for the Hessians."""
    log_every: int = 50
    symmetry_every: int = 0
    """Steps after which the log is told how symmetric Q and O are (#1214); 0 for never."""
    replay: NoReplay | LateReplay = field(default_factory=NoReplay)
    rounding: NoRounding | LateRounding = field(default_factory=NoRounding)
    freezing: NoFreezing | LateFreezing = field(default_factory=NoFreezing)

    def __post_init__(self) -> None:
        """Refuse batches that do not divide and reserves larger than the budget."""
        if self.batch_tokens % self.micro_batch_tokens:
            raise ValueError(
                f"batch_tokens ({self.batch_tokens}) must be a multiple of micro_batch_tokens"
                f" ({self.micro_batch_tokens})"
            )
        if self.batching != "packed" and self.micro_batch_tokens % self.context:
            raise ValueError(
                f"micro_batch_tokens ({self.micro_batch_tokens}) must be a multiple of context ({self.context})"
            )
        if self.short_documents_first and self.batching not in ("packed", "contiguous"):
            raise ValueError(f"short_documents_first needs shards read in order, but batching is {self.batching}")
        if isinstance(self.rounding, LateRounding) and isinstance(self.freezing, LateFreezing):
            raise ValueError("rounding and freezing cannot both be of kind late")
        if self.symmetry_every < 0:
            raise ValueError(f"symmetry_every must be 0 or more, got {self.symmetry_every}")
        if self.prefetch < 0:
            raise ValueError(f"prefetch must be 0 or more, got {self.prefetch}")
        if not 0.0 <= self.reserve_s < self.budget_s:
            raise ValueError(f"reserve_s ({self.reserve_s}) must be below budget_s ({self.budget_s})")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
