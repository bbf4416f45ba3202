"""Documents to tokens on disk: train a tokenizer with the published options, encode, write shards."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from sentencepiece import SentencePieceNormalizer, SentencePieceProcessor, SentencePieceTrainer

from fairway.data.byte_counts import SPACE_PIECE, load_tokenizer
from fairway.data.caseops import OPERATORS, CaseTable, decode_case, encode_case
from fairway.data.shards import ShardWriter, Split
from fairway.errors import DataError
from fairway.runtime.files import write_bytes_atomic
from fairway.spec.data import BOS, Transform

NORMALISATION = "nmt_nfkc"

# What the trainer takes by default; a longer document would be left out without a word.
_TOKENIZER_MIN_SENTENCE_BYTES = 4192
_ENCODE_BATCH_DOCUMENTS = 1024


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One document of a split, in stream order."""

    split: Split
    sha256: str
    """Of the UTF-8 text."""
    tokens: int
    """BOS included."""
    text_bytes: int


def normalise(text: str) -> str:
    """Text as a tokenizer with the published options sees it: NFKC, no control characters, single spaces.

    On such text encoding loses nothing, so the bytes counted by the tables are the bytes of the text. U+2581 becomes
    a space because SentencePiece cannot tell the two apart.
    """
    # Some compatibility forms decompose into spaces or into each other, so one pass may leave work for a second.
    while (once := _normalise_once(text)) != text:
        text = once
    return text


def train_tokenizer(documents: Iterable[str], path: Path, vocab_size: int, *, transform: Transform = "none") -> None:
    """Train a SentencePiece BPE model with the options of the published exports (recipes A.3) and write it.

    The same documents give the same bytes: one thread (the thread count is written into the model), no sampling. An
    option that may differ from the exports is the longest sentence, raised where a document would be left out. With
    ``transform`` caseops documents are rewritten first and the operators are pieces 4 to 7; the tokenizer then
    normalises nothing more, for a letter that was made small may fuse with an accent that the capital has none with
    (H with U+0331), and the operator before it would stand before no letter.
    ``DataError`` if the text has no ``vocab_size`` pieces, or more characters than pieces.
    """
    texts = [cleaned for text in documents if (cleaned := text.replace("\0", " ").strip())]
    if transform == "caseops":
        texts = [encode_case(text) for text in texts]
    if not texts:
        raise DataError("no text to train a tokenizer on: every document is empty")
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            character_coverage=0.999,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity" if transform == "caseops" else NORMALISATION,
            user_defined_symbols=list(OPERATORS) if transform == "caseops" else [],
            add_dummy_prefix=False,
            pad_id=0,
            bos_id=BOS,
            eos_id=2,
            unk_id=3,
            hard_vocab_limit=False,
            max_sentence_length=max(_TOKENIZER_MIN_SENTENCE_BYTES, *(len(text.encode()) for text in texts)),
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split()).rpartition("] ")[2]
        raise DataError(f"no tokenizer of {vocab_size} pieces fits {len(texts)} documents: {reason}") from error
    pieces = SentencePieceProcessor(model_proto=model.getvalue()).get_piece_size()
    if pieces != vocab_size:
        raise DataError(f"{len(texts)} documents give {pieces} tokenizer pieces, the recipe wants {vocab_size}")
    write_bytes_atomic(path, model.getvalue())


def tokenize_to_shards(
    documents: Iterable[str],
    tokenizer: Path,
    folder: Path,
    split: Split,
    shard_tokens: int,
    *,
    transform: Transform = "none",
) -> list[DocumentRow]:
    """Encode each document as BOS and its tokens, write the shards of one split, and return a row a document.

    With ``transform`` caseops sidecars with the bytes of each token are written beside validation shards, and
    ``DataError`` tells of a document that the tokens would not give back.
    """
    processor = load_tokenizer(tokenizer)
    if processor.bos_id() != BOS:
        raise DataError(f"{tokenizer}: BOS must have id {BOS}, got {processor.bos_id()}")
    table = CaseTable.from_tokenizer(tokenizer) if transform == "caseops" else None
    folder.mkdir(parents=True, exist_ok=True)
    writer = ShardWriter(folder, split, shard_tokens)
    sidecar = ShardWriter(folder, "val_bytes", shard_tokens)
    rows: list[DocumentRow] = []
    for batch in _batched(documents, _ENCODE_BATCH_DOCUMENTS):
        texts = batch if table is None else [encode_case(text) for text in batch]
        for text, tokens in zip(batch, processor.encode(texts, out_type=int), strict=True):
            data = text.encode()
            writer.add([BOS, *tokens])
            rows.append(DocumentRow(split, hashlib.sha256(data).hexdigest(), 1 + len(tokens), len(data)))
            if table is None:
                continue
            if decode_case(processor.decode(tokens)) != text:
                raise DataError(f"the tokens of document {len(rows)} of {split} do not give it back: {text[:60]!r}")
            if split == "val":
                sidecar.add(table.of_tokens(torch.tensor([BOS, *tokens])).tolist())
    if not rows:
        raise DataError(f"no {split} documents to tokenize")
    writer.finish()
    sidecar.finish()
    return rows


@cache
def _normaliser() -> SentencePieceNormalizer:
    return SentencePieceNormalizer(
        rule_name=NORMALISATION, add_dummy_prefix=False, escape_whitespaces=False, remove_extra_whitespaces=True
    )


def _normalise_once(text: str) -> str:
    spaced: str = _normaliser().normalize(text.replace("\0", " ").replace(SPACE_PIECE, " "))
    return spaced.replace(SPACE_PIECE, " ").strip(" ")


def _batched(documents: Iterable[str], size: int) -> Iterable[list[str]]:
    batch: list[str] = []
    for document in documents:
        batch.append(document)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
