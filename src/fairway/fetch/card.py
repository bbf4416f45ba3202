"""A card for a folder of shards: what is in it, shard by shard, and whether validation documents occur in training.

Memory is bounded by the validation split: its documents' digests are held (16 bytes each), training is read once,
a shard at a time.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from fairway.data.byte_counts import ByteTable
from fairway.data.shards import Split, TokenArray, open_shard, split_files
from fairway.errors import DataError
from fairway.runtime.files import sha256_file
from fairway.spec.data import BOS

_BLOCK_TOKENS = 1 << 24
_DIGEST_BYTES = 16
_MOST_EXAMPLES = 20
METHOD = "BLAKE2b, 128 bits, of a document's tokens after its BOS, as little-endian 16-bit words"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardCard:
    """One shard."""

    file: str
    sha256: str
    tokens: int
    documents: int
    """That begin in it."""
    bytes: int | None
    """Of text, by the tokenizer; None where none was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitCard:
    """One split."""

    shards: tuple[ShardCard, ...]
    tokens: int
    documents: int
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Validation documents that occur in training, word for word."""

    method: str
    documents: int
    """Of the validation split."""
    tokens: int
    """In them."""
    examples: tuple[tuple[int, str], ...]
    """Number of a validation document, and the training shard that ends a copy of it."""
    within: int
    """Validation documents that are copies of an earlier one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A data set."""

    train: SplitCard
    val: SplitCard
    overlap: Overlap


def data_card(train: Path, val: Path, tokenizer: Path | None, report: Callable[[str], None]) -> Card:
    """Read both splits through once. ``DataError`` names the file that is no shard, or does not begin with BOS."""
    table = None if tokenizer is None else ByteTable.from_tokenizer(tokenizer)
    held: dict[bytes, int] = {}
    sizes: list[int] = []
    within = 0

    def keep(file: Path, document: TokenArray) -> None:
        nonlocal within
        digest = _digest(document)
        within += digest in held
        held.setdefault(digest, len(sizes))
        sizes.append(len(document))

    val_card = _read(val, "val", table, keep, report)
    found: dict[int, str] = {}

    def look(file: Path, document: TokenArray) -> None:
        number = held.get(_digest(document))
        if number is not None:
            found.setdefault(number, file.name)

    train_card = _read(train, "train", table, look, report)
    overlap = Overlap(
        method=METHOD,
        documents=len(found),
        tokens=sum(sizes[number] for number in found),
        examples=tuple(sorted(found.items())[:_MOST_EXAMPLES]),
        within=within,
    )
    return Card(train=train_card, val=val_card, overlap=overlap)


def card_json(card: Card) -> str:
    """Everything, for programs."""
    return json.dumps({"format": 1, **asdict(card)}, indent=1, sort_keys=True) + "\n"


def card_markdown(card: Card, title: str) -> str:
    """What people read: sums, the overlap, and a row for each shard."""
    lines = [f"# Data card: {title}", "", "| split | shards | documents | tokens | bytes of text |"]
    lines.append("| --- | --: | --: | --: | --: |")
    for name, split in (("training", card.train), ("validation", card.val)):
        size = "" if split.bytes is None else f"{split.bytes:,}"
        lines.append(f"| {name} | {len(split.shards)} | {split.documents:,} | {split.tokens:,} | {size} |")
    share = card.overlap.documents / card.val.documents
    lines += [
        "",
        f"{card.overlap.documents:,} of {card.val.documents:,} validation documents ({share:.2%},"
        f" {card.overlap.tokens:,} tokens) occur word for word in training;"
        f" {card.overlap.within:,} are copies of another validation document."
        f" Told by {METHOD}.",
        "",
        "| shard | documents | tokens | SHA-256 |",
        "| --- | --: | --: | --- |",
    ]
    for shard in (*card.val.shards, *card.train.shards):
        lines.append(f"| {shard.file} | {shard.documents:,} | {shard.tokens:,} | `{shard.sha256}` |")
    return "\n".join(lines) + "\n"


def _read(
    folder: Path,
    split: Split,
    table: ByteTable | None,
    use: Callable[[Path, TokenArray], None],
    report: Callable[[str], None],
) -> SplitCard:
    files = split_files(folder, split)
    cards: list[ShardCard] = []
    rest: list[TokenArray] = []
    """Of the document that the last shard broke off in."""
    last = BOS
    for number, file in enumerate(files, start=1):
        shard = open_shard(file)
        if number == 1 and int(shard[0]) != BOS:
            raise DataError(f"{file}: must begin with a document (BOS, id {BOS}), begins with {int(shard[0])}")
        documents = 0
        for piece, begins in _pieces(shard):
            if begins and rest:
                use(file, np.concatenate(rest))
                rest = []
            documents += begins
            rest.append(piece)
        size = None if table is None else _text_bytes(shard, table, last)
        last = int(shard[-1])
        cards.append(
            ShardCard(file=file.name, sha256=sha256_file(file), tokens=len(shard), documents=documents, bytes=size)
        )
        report(f"card: {split} shard {number} of {len(files)}: {documents:,} documents, {len(shard):,} tokens")
    use(files[-1], np.concatenate(rest))
    sizes = [card.bytes for card in cards]
    return SplitCard(
        shards=tuple(cards),
        tokens=sum(card.tokens for card in cards),
        documents=sum(card.documents for card in cards),
        bytes=None if table is None else sum(size for size in sizes if size is not None),
    )


def _pieces(shard: TokenArray) -> Iterator[tuple[TokenArray, bool]]:
    """Stretches of a shard from one BOS to the next, without it; whether each begins a document or goes on with one."""
    for start in range(0, len(shard), _BLOCK_TOKENS):
        block = np.asarray(shard[start : start + _BLOCK_TOKENS])
        (found,) = np.nonzero(block == BOS)
        bounds = [*found.tolist(), len(block)]
        if bounds[0] > 0:
            yield block[: bounds[0]], False
        for begin, end in zip(bounds, bounds[1:], strict=False):
            yield block[begin + 1 : end], True


def _text_bytes(shard: TokenArray, table: ByteTable, before: int) -> int:
    """Bytes of a shard's tokens as targets, the first one after the last token of the shard before."""
    total = 0
    for start in range(0, len(shard), _BLOCK_TOKENS):
        block = np.asarray(shard[start : start + _BLOCK_TOKENS]).astype(np.int32)
        tokens = torch.from_numpy(np.concatenate([np.array([before], dtype=np.int32), block]))
        total += table.total(tokens)
        before = int(block[-1])
    return total


def _digest(document: TokenArray) -> bytes:
    words = np.ascontiguousarray(document, dtype="<u2")
    return hashlib.blake2b(words.tobytes(), digest_size=_DIGEST_BYTES).digest()
