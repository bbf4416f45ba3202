"""A made-up dataset in the official format, of which every place can be told by two neighbouring tokens.

Tokens are drawn evenly, but no pair of neighbours twice: not in the validation stream, not in its changed versions,
and not in the training shard if it is in one of those. Documents begin with BOS, and their lengths leave a few
tokens over whatever power of two they are cut by, so that no piece is a single target.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fairway.data.shards import shard_name, write_shard
from fairway.errors import FairwayError

BOS = 1
_FIRST = 4
"""Of the ids that documents are made of; below are padding, BOS, end and unknown."""
_BYTES = 256
_LEAST = 128
"""Tokens of a validation stream."""
_SPACE = "\u2581"
_TRIES = 1000
_TRAIN_DOCUMENT = 97

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A change to the validation stream: tokens ``start..stop-1`` replaced, BOS kept."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeUp:
    """Streams of tokens before they are written."""

    vocab_size: int
    train: Tokens
    streams: Mapping[str, Tokens]
    """The validation stream, as ``base``, and its changed versions by name."""
    flips: Mapping[str, Flip]
    """By the same names."""
    documents: int


def most_tokens(vocab_size: int) -> int:
    """How long a stream may be that has pairs of its own, and its changed versions and the training shard theirs."""
    return (max(vocab_size, _FIRST) - _FIRST) ** 2 // 6


def make_up(vocab_size: int, val_tokens: int, train_tokens: int, seed: int = 0) -> MadeUp:
    """Draw the streams; ``FairwayError`` if so many tokens have no pairs of their own over so small a vocabulary."""
    most = most_tokens(vocab_size)
    if not _LEAST <= val_tokens <= most:
        raise FairwayError(
            f"a made-up stream over {vocab_size} tokens may have {_LEAST}..{most} of them, got {val_tokens}"
        )
    draw = np.random.default_rng(seed)
    used: set[tuple[int, int]] = set()
    lengths = _lengths(val_tokens, draw)
    starts = set(np.cumsum([0, *lengths[:-1]]).tolist())
    base: list[int] = []
    for place in range(sum(lengths)):
        ends = BOS if place + 1 in starts else None
        base.append(BOS if place in starts else _drawn(draw, vocab_size, base[-1], ends, used))
        if place:
            used.add((base[-2], base[-1]))
    one = _inside(starts, int(0.8 * len(base)))
    half = _inside(starts, int(0.45 * len(base)))
    flips = {
        "one": Flip(start=one, stop=one + 1),
        "rest": Flip(start=half, stop=min(at for at in (*starts, len(base)) if at > half)),
    }
    streams = {"base": np.array(base)}
    for name, flip in flips.items():
        changed = list(base)
        for place in range(flip.start, flip.stop):
            if place not in starts:
                after = base[place + 1] if place + 1 < len(base) and (place + 1 in starts or name == "one") else None
                changed[place] = _drawn(draw, vocab_size, changed[place - 1], after, used, base[place])
            used.add((changed[place - 1], changed[place]))
        streams[name] = np.array(changed)
        used |= set(zip(changed, changed[1:], strict=False))
    train: list[int] = []
    for place in range(train_tokens):
        ends = BOS if (place + 1) % _TRAIN_DOCUMENT == 0 else None
        train.append(BOS if place % _TRAIN_DOCUMENT == 0 else _drawn(draw, vocab_size, train[-1], ends, used))
    return MadeUp(vocab_size=vocab_size, train=np.array(train), streams=streams, flips=flips, documents=len(lengths))


def write_dataset(made: MadeUp, stream: str, folder: Path) -> dict[str, str]:
    """Shards of both splits and the tokenizer, laid out as published; variables that tell scripts where they are."""
    shards, tokenizers = folder / "datasets" / f"fineweb10B_sp{made.vocab_size}", folder / "tokenizers"
    for each in (shards, tokenizers):
        each.mkdir(parents=True, exist_ok=True)
    write_shard(shards / shard_name("train", 0), made.train.astype(np.uint16))
    write_shard(shards / shard_name("val", 0), made.streams[stream].astype(np.uint16))
    model = tokenizers / f"fineweb_{made.vocab_size}_bpe.model"
    model.write_bytes(tokenizer(made.vocab_size))
    places = {"DATA_DIR": folder, "DATA_PATH": shards, "TOKENIZER_PATH": model}
    return {name: str(place.absolute()) for name, place in places.items()}


def tokenizer(vocab_size: int) -> bytes:
    """A SentencePiece model of so many pieces, as protocol buffers have it.

    Ids 0..3 are padding, BOS, end and unknown, then bytes if there is room, then a lone space, then made-up words of
    which every other begins with a space.
    """
    pieces = [("<pad>", 3), ("<s>", 3), ("</s>", 3), ("<unk>", 2)]
    has_bytes = vocab_size > 2 * _BYTES
    if has_bytes:
        pieces += [(f"<0x{byte:02X}>", 6) for byte in range(_BYTES)]
    pieces.append((_SPACE, 1))
    for number in range(vocab_size - len(pieces)):
        pieces.append(((_SPACE if number % 2 else "") + f"w{number}", 1))
    body = b"".join(
        _message(1, _text(1, text) + _float(2, -float(rank)) + _integer(3, kind))
        for rank, (text, kind) in enumerate(pieces)
    )
    settings = ((3, 2), (4, vocab_size), (35, int(has_bytes)), (40, 3), (41, 1), (42, 2), (43, 0))
    trainer = b"".join(_integer(field, value) for field, value in settings)
    normalizer = _text(1, "identity") + _integer(3, 0) + _integer(4, 0) + _integer(5, 1)
    return body + _message(2, trainer) + _message(3, normalizer)


def _lengths(total: int, draw: np.random.Generator) -> list[int]:
    """Lengths of documents that are no multiple of any chunk: 6..26 more than a multiple of 32."""
    lengths: list[int] = []
    while sum(lengths) < total:
        lengths.append(32 * int(draw.integers(1, 9)) + int(draw.integers(6, 27)))
    return lengths


def _inside(starts: Iterable[int], place: int) -> int:
    """A place at or after this one that lies well within a document, and within whatever it is cut into."""
    while any(place + each in starts for each in range(-3, 4)) or place % 8 != 5:
        place += 1
    return place


def _drawn(
    draw: np.random.Generator,
    vocab_size: int,
    before: int,
    after: int | None,
    used: set[tuple[int, int]],
    other_than: int | None = None,
) -> int:
    for _ in range(_TRIES):
        token = int(draw.integers(_FIRST, vocab_size))
        if (before, token) not in used and token != other_than and (after is None or (token, after) not in used):
            return token
    raise FairwayError(f"no pair of neighbours is left over {vocab_size} tokens; fewer tokens or a larger vocabulary")


def _varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _integer(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _float(field: int, value: float) -> bytes:
    return _varint(field << 3 | 5) + struct.pack("<f", value)


def _message(field: int, body: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(body)) + body


def _text(field: int, text: str) -> bytes:
    return _message(field, text.encode())
