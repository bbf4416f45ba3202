"""The bitstream of the decode proof: which documents' lengths, whose distributions, and the words of a range coder.

All numbers are little-endian:

    bytes 0-7     ``fairway`` and a byte 1
    32 bytes      SHA-256 of the artifact
    32 bytes      SHA-256 of the resolved recipe, as its own file states it
    u64, u32 x 4  seed, size of the vocabulary, id of BOS, number of documents, number of words
    u32 each      tokens of each document, BOS included
    u32 each      words of the range coder
    32 bytes      SHA-256 of all bytes before

Lengths are told beside the code, for the plan of an evaluation is a function of them: a decoder that has none cannot
begin. So is every BOS, which they place. The words hold all targets all the same, each BOS among them, and they alone
are what is held against the ledger.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fairway.errors import MalformedError

Words = np.ndarray[Any, np.dtype[np.uint32]]

MAGIC = b"fairway\x01"
WORD_BITS = 32
_HEAD = struct.Struct("<8s32s32sQIIII")
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitstream:
    """Documents as code, and what a decoder must know beside the artifact and the recipe."""

    artifact_sha256: str
    recipe_sha256: str
    seed: int
    vocab_size: int
    bos: int
    lengths: tuple[int, ...]
    """Tokens of each document, BOS included."""
    words: Words
    """32 bits each."""

    @property
    def code_bits(self) -> int:
        """Size of the words."""
        return WORD_BITS * len(self.words)

    @property
    def length_bits(self) -> int:
        """Size of the documents' lengths, as they are written here."""
        return 32 * len(self.lengths)


def to_bytes(stream: Bitstream) -> bytes:
    """The file's content."""
    head = _HEAD.pack(
        MAGIC,
        bytes.fromhex(stream.artifact_sha256),
        bytes.fromhex(stream.recipe_sha256),
        stream.seed,
        stream.vocab_size,
        stream.bos,
        len(stream.lengths),
        len(stream.words),
    )
    content = head + _packed(stream.lengths) + stream.words.astype("<u4").tobytes()
    return content + hashlib.sha256(content).digest()


def from_bytes(data: bytes, name: str) -> Bitstream:
    """The bitstream again; ``MalformedError`` with one line, which calls it ``name``, if it is damaged or none."""
    if len(data) < _HEAD.size + _DIGEST_BYTES or not data.startswith(MAGIC):
        raise MalformedError(
            f"{name}: {len(data)} bytes that begin with {data[:8]!r} are no bitstream of documents; one has at least"
            f" {_HEAD.size + _DIGEST_BYTES} and begins with {MAGIC!r}"
        )
    content, digest = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        raise MalformedError(f"{name}: the content does not have the SHA-256 that stands at its end; it is damaged")
    _, artifact, recipe, seed, vocab_size, bos, documents, words = _HEAD.unpack_from(content)
    due = _HEAD.size + 4 * (documents + words)
    if len(content) != due:
        raise MalformedError(
            f"{name}: {documents} documents and {words} words take {due} bytes, the content has {len(content)}"
        )
    lengths = tuple(np.frombuffer(content, "<u4", documents, _HEAD.size).tolist())
    if min(lengths, default=0) < 1 or sum(lengths) < 2:
        raise MalformedError(f"{name}: documents must hold at least 1 token each and 2 together")
    if bos >= vocab_size:
        raise MalformedError(f"{name}: BOS has id {bos}, the vocabulary has {vocab_size}")
    return Bitstream(
        artifact_sha256=artifact.hex(),
        recipe_sha256=recipe.hex(),
        seed=seed,
        vocab_size=vocab_size,
        bos=bos,
        lengths=lengths,
        words=np.frombuffer(content, "<u4", words, _HEAD.size + 4 * documents).astype(np.uint32),
    )


def _packed(numbers: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)
