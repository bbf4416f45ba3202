"""The stream of documents that a probe shows to an evaluation, and the changes that a probe makes to it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.data.documents import document_lengths
from fairway.errors import DataError
from fairway.score.ledger import tokens_sha256
from fairway.spec.data import BOS


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """Documents, made up or real. Each begins with ``bos``, which stands nowhere else."""

    tokens_N: Tensor
    """int64, on the CPU."""
    bytes_N: Tensor
    """int64: bytes of text that each position counts as a target."""
    lengths: tuple[int, ...]
    """Tokens of each document, BOS included."""
    vocab_size: int
    bos: int

    def __post_init__(self) -> None:
        """``DataError`` if the parts do not fit together."""
        size = self.tokens_N.numel()
        if self.tokens_N.shape != (size,) or self.bytes_N.shape != (size,) or size < 2:
            raise DataError(
                f"a probe's stream has tokens of shape {tuple(self.tokens_N.shape)} and bytes of shape"
                f" {tuple(self.bytes_N.shape)}; both must be (N,) with N of 2 or more"
            )
        if (found := tuple(document_lengths(self.tokens_N, self.bos))) != self.lengths:
            raise DataError(
                f"a probe's stream has {len(self.lengths)} lengths, but {len(found)} documents by its BOS tokens"
                f" (id {self.bos})"
            )
        if not 0 <= int(self.tokens_N.min()) <= int(self.tokens_N.max()) < self.vocab_size:
            raise DataError(f"a probe's stream has tokens outside 0..{self.vocab_size - 1}")

    @property
    def targets(self) -> int:
        """How many tokens are scored: all but the first."""
        return self.tokens_N.numel() - 1

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each document's BOS stands."""
        firsts, at = [], 0
        for length in self.lengths:
            firsts.append(at)
            at += length
        return tuple(firsts)

    @property
    def document_N(self) -> Int[Tensor, " N"]:
        """Which document each position lies in, as an input."""
        return torch.arange(len(self.lengths)).repeat_interleave(torch.tensor(self.lengths))

    @property
    def is_bos_N(self) -> Tensor:
        """bool: positions that no probe may change, for they decide lengths."""
        return self.tokens_N == self.bos

    @property
    def sha256(self) -> str:
        """SHA-256 of the tokens, as a ledger states it."""
        return tokens_sha256(self.tokens_N)


def make_stream(tokens_N: Int[Tensor, " N"], bytes_N: Int[Tensor, " N"], *, vocab_size: int, bos: int = BOS) -> Stream:
    """A stream of given tokens, cut into documents at its BOS tokens."""
    return Stream(
        tokens_N=tokens_N.to("cpu", torch.int64),
        bytes_N=bytes_N.to("cpu", torch.int64),
        lengths=tuple(document_lengths(tokens_N, bos)),
        vocab_size=vocab_size,
        bos=bos,
    )


def first_documents(stream: Stream, documents: int, *, tokens: Sequence[int]) -> Stream:
    """The stream's first documents, the i-th cut after ``tokens[i % len(tokens)]`` tokens of its own."""
    kept = [
        torch.arange(start, start + min(length, tokens[i % len(tokens)]))
        for i, (start, length) in enumerate(zip(stream.starts, stream.lengths, strict=True))
        if i < documents
    ]
    rows = torch.cat(kept)
    return replace(
        stream,
        tokens_N=stream.tokens_N[rows],
        bytes_N=stream.bytes_N[rows],
        lengths=tuple(each.numel() for each in kept),
    )


def prefix(stream: Stream, tokens: int) -> Stream:
    """The stream's first ``tokens`` tokens."""
    return make_stream(stream.tokens_N[:tokens], stream.bytes_N[:tokens], vocab_size=stream.vocab_size, bos=stream.bos)


def flipped(stream: Stream, positions: Sequence[int], source: torch.Generator) -> Stream:
    """Another token at each position, drawn evenly; BOS positions and lengths stay.

    ``ValueError`` for the position of a BOS.
    """
    at = torch.tensor(sorted(positions), dtype=torch.int64)
    if bool(stream.is_bos_N[at].any()):
        raise ValueError("a BOS decides lengths, it may not be changed")
    tokens_N = stream.tokens_N.clone()
    # A draw from the ids that are neither BOS nor the old one, without a loop: skip the two in ascending order.
    old = tokens_N[at]
    low, high = old.clamp_max(stream.bos), old.clamp_min(stream.bos)
    drawn = torch.randint(0, stream.vocab_size - 2, at.shape, generator=source)
    drawn = drawn + (drawn >= low)
    tokens_N[at] = drawn + (drawn >= high)
    return replace(stream, tokens_N=tokens_N)


def redrawn(stream: Stream, where_N: Tensor, source: torch.Generator) -> Stream:
    """Independent, evenly drawn tokens wherever ``where_N`` (bool) says so and no BOS stands; lengths stay."""
    drawn = torch.randint(0, stream.vocab_size - 1, stream.tokens_N.shape, generator=source)
    drawn = drawn + (drawn >= stream.bos)
    return replace(stream, tokens_N=torch.where(where_N & ~stream.is_bos_N, drawn, stream.tokens_N))


def permuted(stream: Stream, source: torch.Generator) -> Stream:
    """The same tokens in another order, each BOS where it was."""
    rows = (~stream.is_bos_N).nonzero().flatten()
    tokens_N, bytes_N = stream.tokens_N.clone(), stream.bytes_N.clone()
    mixed = rows[torch.randperm(rows.numel(), generator=source)]
    tokens_N[rows], bytes_N[rows] = stream.tokens_N[mixed], stream.bytes_N[mixed]
    return replace(stream, tokens_N=tokens_N, bytes_N=bytes_N)


def digest(stream: Stream) -> str:
    """SHA-256 of all that an evaluation is shown: tokens, bytes, lengths."""
    whole = hashlib.sha256(stream.sha256.encode())
    whole.update(stream.bytes_N.numpy().tobytes())
    whole.update(repr((stream.lengths, stream.vocab_size, stream.bos)).encode())
    return whole.hexdigest()
