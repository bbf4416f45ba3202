"""Grid by role, rounding, rotation, codec (recipes D)."""

from dataclasses import dataclass, field
from typing import Literal

from fairway.spec.data import STRICT

CodecName = Literal["smallest", "range", "brotli", "zstd", "lzma", "zlib", "classes", "pergroup", "pergroup_or_range"]

TRELLIS_STATES = (4, 8, 16, 32, 64, 128, 256)
TRELLIS_LONGEST = 65_535
"""Rows of a segment at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Uniform, one step a row: step = clip_sigmas * std(row) / (2**(bits-1) - 1) (SDClip, #1394)."""

    __pydantic_config__ = STRICT
    kind: Literal["sigmas"] = "sigmas"
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
class QuantileGrid:
    """Uniform, one step a row: step = quantile of |row| / (2**(bits-1) - 1), at least ``scale_floor`` (recipes D.1).

    Of several quantiles each row, or the matrix as a whole, takes the one that fits it best (#414, #1048).
    """

    __pydantic_config__ = STRICT
    kind: Literal["quantiles"] = "quantiles"
    bits: int
    quantiles: tuple[float, ...] = (1.0,)
    """1 is the row's largest."""
    by: Literal["row", "matrix"] = "row"
    scale_floor: float = 1e-10
    """The records have 1/(2**(bits-1) - 1): rows below 1 then have that step, whatever their quantile."""

    def __post_init__(self) -> None:
        """Refuse bits that do not fit a signed byte, and quantiles that are none."""
        if not 2 <= self.bits <= 8:
            raise ValueError(f"bits must be 2..8, got {self.bits}")
        if not self.quantiles or not all(0 < quantile <= 1 for quantile in self.quantiles):
            raise ValueError(f"quantiles must be above 0 and at most 1, one or more, got {list(self.quantiles)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrellisGrid:
    """Symbols of a column hang together: a path through a trellis says which may follow (entropy-coded TCQ).

    One step a row, as for kind ``sigmas``: step = clip_sigmas * std(row) / (2**(bits-1) - 1). In each place every other
    symbol is allowed, so the step of equal rate is half that of kind ``sigmas``, with one bit more.
    """

    __pydantic_config__ = STRICT
    kind: Literal["trellis"] = "trellis"
    bits: int
    clip_sigmas: float
    scale_floor: float = 1e-10
    states: int = 64
    """4, 8, 16, 32, 64, 128 or 256: twice as many take twice as long and save some 0.005 bits a weight."""
    segment: int = 256
    """Rows after which the path begins anew: segments are worked at together, each costs about 2 bits."""
    engine: Literal["torch", "compiled", "triton"] = "torch"
    """Who finds the paths, which are the same ones: torch, code that a C compiler makes at first use, on a CPU, or a
    Triton kernel, on a GPU."""

    def __post_init__(self) -> None:
        """Refuse bits that do not fit a signed byte or give no choice, and states that no code is known for."""
        if not 3 <= self.bits <= 8:
            raise ValueError(f"bits must be 3..8 for a grid of kind trellis, got {self.bits}")
        if self.clip_sigmas <= 0:
            raise ValueError(f"clip_sigmas must be positive, got {self.clip_sigmas}")
        if self.states not in TRELLIS_STATES:
            raise ValueError(f"states must be one of {', '.join(map(str, TRELLIS_STATES))}, got {self.states}")
        if not 1 <= self.segment <= TRELLIS_LONGEST:
            raise ValueError(f"segment must be 1..{TRELLIS_LONGEST}, got {self.segment}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleBits:
    """Every matrix has the bits of its role."""

    __pydantic_config__ = STRICT
    kind: Literal["role"] = "role"


@dataclass(frozen=True, slots=True, kw_only=True)
class GradientBits:
    """One bit more for matrices whose gradients are largest, one less for the smallest (GradQuant, #1048).

    Gradients are those of calibration batches, at the weights that are rounded; the record sums those of its last
    steps. A least step goes along with the bits, as a least clip would.
    """

    __pydantic_config__ = STRICT
    kind: Literal["gradient"] = "gradient"
    more: float = 0.1
    """Share of the matrices that have one more."""
    fewer: float = 0.2

    def __post_init__(self) -> None:
        """Refuse shares that are none, or that overlap."""
        if self.more < 0 or self.fewer < 0 or self.more + self.fewer > 1:
            raise ValueError(f"more and fewer must be shares, together at most 1, got {self.more} and {self.fewer}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandSet:
    """Steps are those of the roles' grids."""

    __pydantic_config__ = STRICT
    kind: Literal["hand"] = "hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lagrangian:
    """Each matrix's steps are so many times its role's that a byte more is worth as much to the loss everywhere.

    All together fill the file: what the loss feels is measured on the calibration batches, backwards too.
    """

    __pydantic_config__ = STRICT
    kind: Literal["lagrangian"] = "lagrangian"
    cap_bytes: int = 16_000_000
    """Of artifact and code together."""
    code_bytes: int = 32_000
    """What the code is reckoned at: whoever carries the recipe out then rounds alike, whatever the code's form."""
    headroom_bytes: int = 0
    """Of the cap, left unused."""
    tolerance_bytes: int = 2_000
    """How many more may be."""

    def __post_init__(self) -> None:
        """Refuse targets that nothing meets."""
        if min(self.code_bytes, self.headroom_bytes) < 0 or self.target_bytes <= 0:
            raise ValueError(
                f"cap_bytes ({self.cap_bytes}) must be above code_bytes ({self.code_bytes}) and headroom_bytes"
                f" ({self.headroom_bytes}) together, both 0 or more"
            )
        if self.tolerance_bytes < 1:
            raise ValueError(f"tolerance_bytes must be at least 1, got {self.tolerance_bytes}")

    @property
    def target_bytes(self) -> int:
        """What the artifact may have."""
        return self.cap_bytes - self.code_bytes - self.headroom_bytes


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
class NoCorrection:
    """Weights are what rounding made of them."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lqer:
    """A product of two narrow rounded matrices is added to those that rounding hurt most (#1797, arXiv 2402.02446)."""

    __pydantic_config__ = STRICT
    kind: Literal["lqer"] = "lqer"
    rank: int = 4
    top: int = 3
    """How many matrices."""
    weighted: bool = True
    """Least error of the outputs; the records take least error of the weights."""

    def __post_init__(self) -> None:
        """Refuse corrections of nothing."""
        if self.rank < 1 or self.top < 1:
            raise ValueError(f"rank and top must be at least 1, got {self.rank} and {self.top}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoneKept:
    """Every matrix is rounded by the grid of its role."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Some matrices are kept in half precision: the token embedding, the last layers' K (#212, recipes D.2)."""

    __pydantic_config__ = STRICT
    kind: Literal["matrices"] = "matrices"
    names: tuple[str, ...]
    """Such as ``embedding`` or ``blocks.10.k``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfGates:
    """Weights of head gates are kept in half precision, like all that is small."""

    __pydantic_config__ = STRICT
    kind: Literal["half"] = "half"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundedGates:
    """Weights of head gates are rounded to eight bits, a step a row (#1736, #1855)."""

    __pydantic_config__ = STRICT
    kind: Literal["int8"] = "int8"


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPruning:
    """Every symbol is what rounding made it."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedOnes:
    """Symbols of plus and minus one become zero, smallest steps first, until artifact and code fit (#1019)."""

    __pydantic_config__ = STRICT
    kind: Literal["ones"] = "ones"
    target: float = 15.9
    unit: Literal["MB", "MiB"] = "MB"
    """Of ``target``. The rule's limit is in megabytes of 1,000,000 bytes; the records count mebibytes (2**20)."""
    code_bytes: int = 32_000
    """What the code is reckoned at: whoever carries the recipe out then prunes alike, whatever the code's form."""

    def __post_init__(self) -> None:
        """Refuse targets that nothing meets."""
        if self.target <= 0 or self.code_bytes < 0:
            raise ValueError(f"target must be positive and code_bytes 0 or more, got {self.target}, {self.code_bytes}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingText:
    """Hessians are those of training batches, ``train.calibration_batches`` a rank."""

    __pydantic_config__ = STRICT
    kind: Literal["training"] = "training"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnText:
    """Hessians are those of text that the model writes itself (#1019); all ranks share the rows."""

    __pydantic_config__ = STRICT
    kind: Literal["own"] = "own"
    sequences: int = 64
    tokens: int = 2048
    """Of a row."""
    batch: int = 8
    """Rows that are written together."""
    temperature: float = 0.8

    def __post_init__(self) -> None:
        """Refuse rows that fill no batch, and temperatures that are none."""
        if self.tokens < 1 or self.batch < 1 or self.sequences < 1 or self.sequences % self.batch:
            raise ValueError(
                f"sequences ({self.sequences}) must be a multiple of batch ({self.batch}), and tokens at least 1,"
                f" got {self.tokens}"
            )
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive, got {self.temperature}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoTriangles:
    """Q and O are stored as they are."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Triangles:
    """Q and O of some layers are made symmetric after training, and one triangle of each is stored (#1214)."""

    __pydantic_config__ = STRICT
    kind: Literal["layers"] = "layers"
    layers: tuple[int, ...]
    whole: bool = False
    """Store both triangles nevertheless, as the record does, whose codec then saves nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantSpec:
    """What happens to each role; every other tensor is kept in half precision."""

    __pydantic_config__ = STRICT
    attention: Grid | QuantileGrid | TrellisGrid
    mlp: Grid | QuantileGrid | TrellisGrid
    embedding: Grid | QuantileGrid | TrellisGrid
    mixing: RoleBits | GradientBits = field(default_factory=RoleBits)
    rates: HandSet | Lagrangian = field(default_factory=HandSet)
    kept: NoneKept | Kept = field(default_factory=NoneKept)
    gates: HalfGates | RoundedGates = field(default_factory=HalfGates)
    correction: NoCorrection | Lqer = field(default_factory=NoCorrection)
    pruning: NoPruning | PrunedOnes = field(default_factory=NoPruning)
    triangles: NoTriangles | Triangles = field(default_factory=NoTriangles)
    calibration: TrainingText | OwnText = field(default_factory=TrainingText)
    rounding: Nearest | Gptq = field(default_factory=Gptq)
    rotation: NoRotation | Hadamard = field(default_factory=NoRotation)
    rotate_online: bool = False
    """Rotate what the linears read in every forward of the evaluation, as #1695 does, instead of folding rotations back
    into the weights at load, which computes the same for nothing."""
    codec: CodecName = "smallest"
    """``smallest``: of each stream the range coder's payload or brotli's, whichever is smaller; ``classes``: or that of
    classes of lines. ``pergroup``: #1855's, by the program lrzip; ``pergroup_or_range`` makes do without it."""

    def __post_init__(self) -> None:
        """Refuse what does not go together: of triangles, of gradients, of trellises, and of turning online."""
        if self.rotate_online and isinstance(self.rotation, NoRotation):
            raise ValueError("rotate_online needs rotation of kind hadamard")
        if isinstance(self.mixing, GradientBits) and isinstance(self.triangles, Triangles):
            raise ValueError(
                "mixing of kind gradient needs triangles of kind none: a triangle has the bits of its role"
            )
        if isinstance(self.mixing, GradientBits) and isinstance(self.calibration, OwnText):
            raise ValueError("mixing of kind gradient needs calibration of kind training: own text has no loss")
        if isinstance(self.triangles, Triangles) and isinstance(self.rotation, Hadamard):
            raise ValueError("triangles need rotation of kind none: a turned matrix is not symmetric")
        has_trellis = any(isinstance(grid, TrellisGrid) for grid in (self.attention, self.mlp, self.embedding))
        if has_trellis and isinstance(self.pruning, PrunedOnes):
            raise ValueError("pruning of kind ones goes with no grid of kind trellis: there a symbol decides the next")
        if has_trellis and isinstance(self.mixing, GradientBits):
            raise ValueError("mixing of kind gradient goes with no grid of kind trellis: more bits are not more rate")
        if isinstance(self.rates, Lagrangian):
            self._check_rates()
        if isinstance(self.attention, TrellisGrid) and isinstance(self.triangles, Triangles):
            raise ValueError("triangles need attention of another kind than trellis: a triangle is one row")

    def _check_rates(self) -> None:
        """Refuse what goes with no rates of kind lagrangian."""
        for name, part, kinds, reason in (
            ("mixing", self.mixing, GradientBits, "bits by gradient would be weighed twice"),
            ("pruning", self.pruning, PrunedOnes, "both would fill the file"),
            ("triangles", self.triangles, Triangles, "a triangle has the steps of its role"),
            ("calibration", self.calibration, OwnText, "own text has no loss"),
            ("attention", self.attention, QuantileGrid, "its steps are not in proportion to deviations"),
            ("mlp", self.mlp, QuantileGrid, "its steps are not in proportion to deviations"),
            ("embedding", self.embedding, QuantileGrid, "its steps are not in proportion to deviations"),
        ):
            if isinstance(part, kinds):
                raise ValueError(f"rates of kind lagrangian go with no {name} of kind {part.kind}: {reason}")
