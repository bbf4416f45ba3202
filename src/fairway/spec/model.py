"""Sizes and mechanisms of the one forward (recipes B.5)."""

from dataclasses import dataclass, field
from typing import Literal

from fairway.spec.data import STRICT
from fairway.spec.mechanisms import (
    DepthAttention,
    GatedSkips,
    HeadGate,
    HyperConnections,
    LegendreMix,
    Mtp,
    NeutralMix,
    NgramHash,
    NoHash,
    NoHeadGate,
    NoMtp,
    NoSmear,
    NoSymmetry,
    NoValueEmbedding,
    Skips,
    Smear,
    SparseHeadGate,
    SymLayers,
    Symmetry,
    TokenSmear,
    ValueEmbedding,
)


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
    adapter_rank: int = 0
    """Of low-rank corrections to Q, K, V and O that each run of each layer has of its own (#212); 0 for none."""


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
class Kernels:
    """Who computes what several operators in a row make: torch and its compiler, or one Triton kernel of ours.

    Each is there for a profile to choose; none is on by default. Given tensors of a CPU, the kernels' operators
    compute the same with torch.
    """

    __pydantic_config__ = STRICT
    mlp: Literal["torch", "triton"] = "torch"
    """Activation inside the up product and its derivative inside the product that goes back through the down matrix."""
    head: Literal["torch", "triton"] = "torch"
    """Cross-entropy whose gradient takes the place of the logits, in training."""
    rotary: Literal["torch", "triton"] = "torch"
    """Norm, gain and rotation of queries and keys."""
    exclusive: Literal["torch", "triton"] = "torch"
    """Exclusive self attention and the gate of heads, in layers that have the former."""
    junction: Literal["torch", "triton"] = "torch"
    """Sums of streams or lanes with the norm that follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A decoder with tied embedding and banked weights; what defaults leave out is ``fairway.spec.mechanisms``."""

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
    attention: Literal["auto", "fa3", "fa4", "varlen", "flex", "sdpa"] = "auto"
    """What computes attention, in every stage: the fastest that the machine can run, or one by name.

    ``sdpa`` is PyTorch's scaled_dot_product_attention, the reference; a name that cannot run is an error.
    """
    negative_slope: float = 0.5
    """Of the leaky ReLU that is squared in the MLP."""
    embedding_std: float = 0.005
    start: Literal["orthogonal", "uniform"] = "orthogonal"
    """Of Q, K, V and MLP up; ``uniform`` is within 1/sqrt(inputs), PyTorch's own."""
    q_rank: int = 0
    """Q as the product of two matrices with so many channels between them (#215); 0 keeps it whole."""
    angle_pairs: int = 0
    """Pairs of the MLP's input channels that are turned by angles which that input gives (#215)."""
    star_relu: bool = False
    """The MLP's activation times a learned scale plus a learned shift (#1048)."""
    value_residual: bool = False
    """Each layer's values are mixed with those of the first (ResFormer, #1048)."""
    loops: NoLoops | Loops = field(default_factory=NoLoops)
    lanes: OneLane | TwoLanes = field(default_factory=OneLane)
    symmetry: Symmetry = field(default_factory=NoSymmetry)
    skips: Skips = field(default_factory=GatedSkips)
    smear: Smear = field(default_factory=NoSmear)
    bigram: NoHash | NgramHash = field(default_factory=NoHash)
    trigram: NoHash | NgramHash = field(default_factory=NoHash)
    value_embedding: NoValueEmbedding | ValueEmbedding = field(default_factory=NoValueEmbedding)
    head_gate: HeadGate = field(default_factory=NoHeadGate)
    resid_start: NeutralMix | LegendreMix = field(default_factory=NeutralMix)
    mtp: NoMtp | Mtp = field(default_factory=NoMtp)
    kernels: Kernels = field(default_factory=Kernels)

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
        self._check_mechanisms()

    def _check_mechanisms(self) -> None:
        """Refuse mechanisms that do not fit the sizes, or each other."""
        if not 0 <= self.q_rank <= self.width:
            raise ValueError(f"q_rank must be 0..{self.width}, got {self.q_rank}")
        if not 0 <= 2 * self.angle_pairs <= self.width:
            raise ValueError(f"angle_pairs must be 0..{self.width // 2}, got {self.angle_pairs}")
        if self.q_rank and not isinstance(self.symmetry, NoSymmetry):
            raise ValueError(f"q_rank ({self.q_rank}) leaves no square Q for symmetry of kind {self.symmetry.kind}")
        for name, part in (("symmetry", self.symmetry), ("value_embedding", self.value_embedding)):
            layers = part.layers if isinstance(part, SymLayers | ValueEmbedding) else ()
            if len(set(layers)) < len(layers) or not all(0 <= layer < self.layers for layer in layers):
                raise ValueError(f"{name}.layers must be distinct and within 0..{self.layers - 1}, got {list(layers)}")
        for name, gate in (("smear", self.smear), ("head_gate", self.head_gate)):
            if isinstance(gate, TokenSmear | SparseHeadGate) and not 1 <= gate.inputs <= self.width:
                raise ValueError(f"{name}.inputs must be 1..{self.width}, got {gate.inputs}")
        if isinstance(self.skips, HyperConnections | DepthAttention):
            if isinstance(self.loops, Loops) or isinstance(self.lanes, TwoLanes):
                raise ValueError(f"skips of kind {self.skips.kind} need one lane and no loops")
        if self.star_relu and self.kernels.mlp == "triton":
            raise ValueError("kernels.mlp must be torch where star_relu is on: the kernel's activation has no scale")
        if isinstance(self.loops, Loops) and self.loops.adapter_rank:
            if (self.loops.first, self.loops.last) != (0, self.layers - 1):
                raise ValueError("loops.adapter_rank needs loops over all layers")

    @property
    def head_width(self) -> int:
        """Channels of one head."""
        return self.width // self.heads

    @property
    def kv_width(self) -> int:
        """Channels of all key heads together."""
        return self.kv_heads * self.head_width
