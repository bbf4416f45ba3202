"""Corpus, tokenizer and split."""

from dataclasses import dataclass, field
from typing import Literal

STRICT = {"extra": "forbid", "strict": True}
BOS = 1
"""Beginning of document, the same id in every tokenizer of the track."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedCorpus:
    """English prose that an installed, hash-pinned package ships: the King James text, a document a chapter."""

    __pydantic_config__ = STRICT
    kind: Literal["embedded"] = "embedded"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubCorpus:
    """A published FineWeb export, already tokenized (recipes A.2)."""

    __pydantic_config__ = STRICT
    kind: Literal["hub"] = "hub"
    variant: Literal["sp1024", "sp4096", "sp8192", "sp8192_caseops"]
    train_shards: int = 80
    """How many training shards to take, from the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalCorpus:
    """The user's own documents: JSON lines with a field ``text``."""

    __pydantic_config__ = STRICT
    kind: Literal["local"] = "local"
    path: str


Corpus = EmbeddedCorpus | HubCorpus | LocalCorpus
Transform = Literal["none", "caseops"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """What is read, how it is cut into tokens, which documents are held out."""

    __pydantic_config__ = STRICT
    corpus: Corpus = field(default_factory=EmbeddedCorpus)
    vocab_size: int
    """SentencePiece pieces, ids 0..3 being pad, bos, eos, unk."""
    transform: Transform = "none"
    """How texts are rewritten before they are cut: ``caseops`` turns capitals into operators (recipes A.5), and
    sidecars count the bytes. An export comes as it is, and the recipe says which."""
    val_docs: int
    """The first so many documents after the shuffle are validation, all others training."""
    shuffle_seed: int = 0
    shard_tokens: int = 100_000_000
    """Tokens a shard at most (the published exports: 10**8)."""

    def __post_init__(self) -> None:
        """Refuse sizes that no shard or tokenizer can have."""
        if not 260 <= self.vocab_size <= 65_536:
            raise ValueError(f"vocab_size must be 260..65536 (byte fallback needs 260), got {self.vocab_size}")
        if self.val_docs < 1:
            raise ValueError(f"val_docs must be at least 1, got {self.val_docs}")
        if isinstance(self.corpus, HubCorpus):
            published = "caseops" if self.corpus.variant == "sp8192_caseops" else "none"
            if self.transform != published:
                raise ValueError(f"transform must be {published} for {self.corpus.variant}, got {self.transform}")
        if not 1 <= self.shard_tokens < 2**31:
            raise ValueError(f"shard_tokens must be 1..2**31-1, got {self.shard_tokens}")
