"""Context and method of evaluation (recipes E)."""

from dataclasses import dataclass, field
from typing import Literal

from fairway.spec.data import STRICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Flat:
    """Each document in rows of ``context`` tokens, each row scored whole."""

    __pydantic_config__ = STRICT
    kind: Literal["flat"] = "flat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sliding:
    """Windows of ``context`` tokens over the whole stream; only the last ``stride`` targets of each are scored."""

    __pydantic_config__ = STRICT
    kind: Literal["sliding"] = "sliding"
    stride: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentLora:
    """Low-rank adapters of their own for each document, one step after each scored chunk (#77, #1530)."""

    __pydantic_config__ = STRICT
    kind: Literal["lora"] = "lora"
    rank: int = 96
    alpha: float | None = None
    """Adapter output is scaled by alpha/rank; absent means 1 (#1530)."""
    chunk: int = 48
    batch_docs: int = 64
    lr: float = 1e-4
    beta1: float = 0.0
    beta2: float = 0.999
    eps: float = 1e-10
    weight_decay: float = 0.5
    optimizer: Literal["adamw", "adam"] = "adamw"
    """``adam`` adds the decay to the gradient, as #1695's phased path did without meaning to."""
    b_lr_ratio: float = 1.0
    """Rate of ``B`` over that of ``A`` (LoRA+, arXiv 2402.12354)."""
    keep_a: bool = False
    """A new batch of documents begins with the ``A`` that the last one of the same process ended with (#1767).

    After a pause of ``PhasedSgd`` it is drawn anew. Where ranks share the work, batches are dealt out to them
    beforehand, so that what is carried on depends on how many they are and on nothing else.
    """
    slot_lr_slope: float = 0.0
    """Rate of slot i is multiplied by 1 + slope * i / (slots - 1) (#1695: 0.5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhasedSgd:
    """Document adapters, and after each phase of the prefix an SGD pass of the base over what was scored (#1610)."""

    __pydantic_config__ = STRICT
    kind: Literal["phased"] = "phased"
    lora: DocumentLora
    prefix_docs: int = 2000
    phases: int = 3
    lr: float = 1e-3
    momentum: float = 0.9
    chunk_tokens: int = 32_768
    context: int = 2048
    grad_clip: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSgd:
    """Sliding windows, and SGD on all weights over each chunk of the stream once it is scored (#549, #1413, #1529)."""

    __pydantic_config__ = STRICT
    kind: Literal["chunks"] = "chunks"
    stride: int = 64
    chunk_tokens: int = 32_768
    epochs: int = 3
    lr: float = 0.005
    momentum: float = 0.9
    grad_clip: float = 1.0
    hash_rows: int = 0
    """Rows of a table of token pairs that is learned during the evaluation alone (#1523: 16,384); 0: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoPass:
    """No second pass."""

    __pydantic_config__ = STRICT
    kind: Literal["none"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """Epochs of one optimizer over rows of the stream, its rate falling as half a cosine (#212, #1048)."""

    __pydantic_config__ = STRICT
    kind: Literal["pass"] = "pass"
    weights: Literal["all", "late", "controls"] = "all"
    """``all`` but the first ``blocks`` blocks; ``late``: the last ``blocks`` blocks, the embedding and the controls;
    ``controls``: scales, gains and mixes alone."""
    blocks: int = 0
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float
    momentum: float = 0.9
    """Of ``sgd``; ``adam`` has 0.9 and 0.999, and no decay."""
    epochs: int = 3
    falls: bool = True
    """Whether the rate falls, step by step, from ``lr`` towards 0 at the end of the pass."""
    up_rate: float = 1.0
    """Rate of the up projections over that of the others (#1048: 0.5)."""
    down_rate: float = 1.0
    """Likewise of the down projections, which rounding hurts most (#1048: 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPasses:
    """Windows, and one or two passes over each chunk of the stream once it is scored: as #1048, in legal order."""

    __pydantic_config__ = STRICT
    kind: Literal["passes"] = "passes"
    first: Pass
    then: Pass | NoPass = field(default_factory=NoPass)
    stride: int = 64
    chunk_tokens: int = 32_768
    batch_rows: int = 64
    """Rows of ``context`` inputs that one step learns from."""
    grad_clip: float = 1.0
    shrinks: bool = False
    """Each chunk's rates begin where the last one's ended: what #1048 ran without meaning to (recipes G.18)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AheadPasses:
    """One or two passes over the whole stream before any of it is scored: as #212 and #1048 ran, never legal.

    The targets are known to the weights that predict them, so the score measures memory (rulings in #402 and #677). It
    is here to reproduce numbers: who names it must write ``invalid = true``, ledger and record repeat that, and the
    judge fails it. Where the two learned before they quantized, this learns from the artifact's weights: no stage
    but the evaluation ever reads validation tokens.
    """

    __pydantic_config__ = STRICT
    kind: Literal["ahead"] = "ahead"
    invalid: Literal[True]
    first: Pass
    then: Pass | NoPass = field(default_factory=NoPass)
    stride: int = 64
    batch_rows: int = 32
    """Rows of ``context`` inputs that one step learns from."""
    most_steps: int = 300
    """Steps of an epoch at most."""
    order: Literal["drawn", "stream"] = "stream"
    """``drawn``: each step begins at a row drawn without replacement, so steps of an epoch overlap (#212)."""
    grad_clip: float = 1.0


Method = Flat | Sliding | DocumentLora | PhasedSgd | ChunkSgd | ChunkPasses | AheadPasses


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSpec:
    """How the artifact is scored, and within which seconds."""

    __pydantic_config__ = STRICT
    context: int
    batch_tokens: int
    """Tokens of one forward of the flat and sliding methods."""
    method: Method
    diagnostic: Flat | Sliding
    """Scores the float weights and the quantized ones before any adaptation."""
    budget_s: float
    """Seconds of one evaluation; when they are used up it ends without a score."""
    ranks: Literal["first", "all"] = "first"
    """Who scores: the first process alone, or all of them, each taking batches of documents as it gets free (#1530)."""

    logit_ensemble: bool = False
    """Whether the weights of the last step are rounded and stored beside their average, and the softcapped logits of
    both are averaged (#1048). Its record rounded them at evaluation and never counted their bytes; here the artifact
    holds both."""

    def __post_init__(self) -> None:
        """Refuse strides and chunks that skip tokens."""
        if self.logit_ensemble and not isinstance(self.method, Flat | Sliding):
            raise ValueError(
                f"logit_ensemble needs a method that learns nothing, flat or sliding, got {self.method.kind}"
            )
        for method in (self.method, self.diagnostic):
            if isinstance(method, Sliding | ChunkSgd | ChunkPasses | AheadPasses) and not (
                1 <= method.stride <= self.context
            ):
                raise ValueError(f"stride must be 1..{self.context}, got {method.stride}")
        if isinstance(self.method, ChunkSgd | ChunkPasses) and (
            self.method.chunk_tokens % self.context or self.context % self.method.stride
        ):
            raise ValueError(
                f"chunk_tokens ({self.method.chunk_tokens}) must be a multiple of context ({self.context}), and context"
                f" one of stride ({self.method.stride}): else a chunk is learned from before all of it is scored"
            )
        if isinstance(self.method, ChunkPasses | AheadPasses) and self.method.batch_rows < 1:
            raise ValueError(f"batch_rows must be 1 or more, got {self.method.batch_rows}")
        lora = self.method.lora if isinstance(self.method, PhasedSgd) else self.method
        if isinstance(lora, DocumentLora) and not 1 <= lora.chunk <= self.context:
            raise ValueError(f"chunk must be 1..{self.context}, got {lora.chunk}")
        if isinstance(self.method, PhasedSgd) and not 1 <= self.method.phases <= self.method.prefix_docs:
            raise ValueError(f"phases must be 1..prefix_docs ({self.method.prefix_docs}), got {self.method.phases}")
