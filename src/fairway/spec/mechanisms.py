"""Mechanisms that some models have and others lack: what joins layers, what enters the first, what gates a head."""

from dataclasses import dataclass
from typing import Literal

from fairway.spec.data import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSkips:
    """Each layer reads the layer before it, and nothing else."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedSkips:
    """U-Net skips: ``x + weight * skip`` (recipes B.1)."""

    __pydantic_config__ = STRICT
    kind: Literal["added"] = "added"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedSkips:
    """U-Net skips: ``g x + (1 - g) weight * skip`` with ``g = sigmoid(gate)`` (recipes B.5)."""

    __pydantic_config__ = STRICT
    kind: Literal["gated"] = "gated"


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperConnections:
    """A layer reads a softmax-weighted sum of the embedding and all outputs before it (#1048)."""

    __pydantic_config__ = STRICT
    kind: Literal["hyper"] = "hyper"
    by_channel: bool = False
    """One weight a channel instead of one for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthAttention:
    """A layer reads the embedding plus a mean of what earlier layers added, weighted by place and content (#215)."""

    __pydantic_config__ = STRICT
    kind: Literal["depth"] = "depth"
    order: int = 4
    """Degree of the Legendre polynomials that weigh places."""


Skips = NoSkips | AddedSkips | GatedSkips | HyperConnections | DepthAttention


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSmear:
    """A token's vector is its own."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelSmear:
    """``(1 - g) x_t + g x_{t-1}``, one gate a channel, after the first norm (#65, recipes B.3)."""

    __pydantic_config__ = STRICT
    kind: Literal["channel"] = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSmear:
    """``x_t + scale sigmoid(w . x_t[:inputs]) x_{t-1}`` before the first norm (#1667); the identity at first."""

    __pydantic_config__ = STRICT
    kind: Literal["token"] = "token"
    inputs: int = 12


Smear = NoSmear | ChannelSmear | TokenSmear


@dataclass(frozen=True, slots=True, kw_only=True)
class NoHash:
    """No table of that length of token runs."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class NgramHash:
    """A table of runs of tokens by hash: XOR of ``multiplier * token`` modulo ``buckets - 1`` (recipes B.3)."""

    __pydantic_config__ = STRICT
    kind: Literal["hash"] = "hash"
    buckets: int
    width: int
    multipliers: tuple[int, ...]
    """From the newest token to the oldest; their number is the length of a run."""
    reserve_last: bool = True
    """Where a document's beginning cuts a run short: the last bucket, else token 0 stands in (#212)."""
    embedding_std: float = 0.0
    weight_gain: float = 1.0
    """Of the orthogonal matrix from ``width`` to the model's; 0 starts it at zero."""

    def __post_init__(self) -> None:
        """Refuse tables without a bucket to hash into."""
        if self.buckets < 2:
            raise ValueError(f"buckets must be at least 2, got {self.buckets}")
        if len(self.multipliers) < 2:
            raise ValueError(f"multipliers must be at least two, got {list(self.multipliers)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoValueEmbedding:
    """Values come from the stream alone."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueEmbedding:
    """A second, narrow token embedding that some layers add to their values (#374)."""

    __pydantic_config__ = STRICT
    kind: Literal["table"] = "table"
    width: int = 128
    layers: tuple[int, ...]
    weight_gain: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NoHeadGate:
    """Heads pass as they are."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseHeadGate:
    """Each head times ``sigmoid(W x + b)``, ``x`` the block's normalised input (#1048, #1736)."""

    __pydantic_config__ = STRICT
    kind: Literal["dense"] = "dense"
    std: float = 0.0
    bias: float | None = None
    """Start of ``b``; without one there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SparseHeadGate:
    """Each head times ``sigmoid(scale W x[:inputs])`` (#1787)."""

    __pydantic_config__ = STRICT
    kind: Literal["sparse"] = "sparse"
    inputs: int = 12
    scale: float = 1.0


HeadGate = NoHeadGate | DenseHeadGate | SparseHeadGate


@dataclass(frozen=True, slots=True, kw_only=True)
class NeutralMix:
    """Each layer starts from the stream alone."""

    __pydantic_config__ = STRICT
    kind: Literal["neutral"] = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendreMix:
    """Shares of stream and embedding start half way from neutral to polynomials of the depth (#215)."""

    __pydantic_config__ = STRICT
    kind: Literal["legendre"] = "legendre"
    stream: tuple[int, ...]
    """Coefficients of the Legendre polynomials 0, 1, ... over depth -1..1."""
    embedding: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoMtp:
    """Only the next token is learned."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mtp:
    """A map before the tied head learns the token after the next, in training alone; no artifact holds it (#212)."""

    __pydantic_config__ = STRICT
    kind: Literal["map"] = "map"
    loss_weight: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSymmetry:
    """Q and O are what they are."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SymMix:
    """Q and O are ``W + tanh(mix) W^T``, one number for each matrix (#1214)."""

    __pydantic_config__ = STRICT
    kind: Literal["mix"] = "mix"


@dataclass(frozen=True, slots=True, kw_only=True)
class SymLayers:
    """Q and O of some layers are ``(W + W^T) / 2`` (#1214)."""

    __pydantic_config__ = STRICT
    kind: Literal["layers"] = "layers"
    layers: tuple[int, ...]


Symmetry = NoSymmetry | SymMix | SymLayers
