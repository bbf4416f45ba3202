import hashlib
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.byte_counts import ByteTable, load_tokenizer
from fairway.data.documents import document_lengths
from fairway.data.shards import load_tokens, split_files
from fairway.errors import DataError
from fairway.prepare import DocumentRow, normalise, tokenize_to_shards, train_tokenizer

DOCUMENTS = [
    "The ship left the harbour at dawn, and nobody saw it again.",
    "In 1984 there were 3.14159 of them; by 2024 more than 1,000,000!",
    "Café crème, naïve façade, jalapeño, Ångström, smörgåsbord.",
    "日本語の文章と漢字。中文句子也在这里。",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    train_tokenizer(DOCUMENTS * 3, path, 400)
    return path


def test_the_same_documents_give_the_same_tokenizer_bytes_wherever_it_is_written(
    tokenizer: Path, tmp_path: Path
) -> None:
    again = tmp_path / "another name.model"
    train_tokenizer(iter(DOCUMENTS * 3), again, 400)
    assert again.read_bytes() == tokenizer.read_bytes()


def test_the_tokenizer_has_the_published_options(tokenizer: Path) -> None:
    processor = load_tokenizer(tokenizer)
    ids = (processor.pad_id(), processor.bos_id(), processor.eos_id(), processor.unk_id())
    assert ids == (0, 1, 2, 3) and processor.get_piece_size() == 400
    bytes_known = [processor.id_to_piece(token) for token in range(400) if processor.is_byte(token)]
    assert bytes_known == [f"<0x{byte:02X}>" for byte in range(256)]
    assert processor.encode("the", out_type=str)[0].startswith("t"), "no dummy prefix"
    assert processor.encode("1984", out_type=str) == ["1", "9", "8", "4"], "digits are split"
    assert processor.encode("ﬁ①") == processor.encode("fi1"), "compatibility forms are folded"


def test_documents_longer_than_the_trainers_own_limit_are_learned_from(tmp_path: Path) -> None:
    long = "zebra crossing " * 400
    train_tokenizer([long, "a b c d e f"], tmp_path / "tokenizer.model", 300)
    assert "\u2581zebra" in load_tokenizer(tmp_path / "tokenizer.model").encode("a zebra", out_type=str)


@pytest.mark.parametrize(
    ("documents", "vocab_size", "complaint"),
    [
        ([" ", "\0", ""], 300, "every document is empty"),
        (["the cat sat"], 5000, "give [0-9]+ tokenizer pieces, the recipe wants 5000"),
        (["abcdefghijklmnopqrstuvwxyz"], 270, "no tokenizer of 270 pieces fits 1 documents: Vocabulary size"),
    ],
)
def test_documents_that_cannot_give_the_vocabulary_are_refused_and_nothing_is_written(
    tmp_path: Path, documents: list[str], vocab_size: int, complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint):
        train_tokenizer(documents, tmp_path / "tokenizer.model", vocab_size)
    assert list(tmp_path.iterdir()) == []


@settings(deadline=None)
@given(text=st.text(max_size=60))
def test_normalised_text_stays_as_it_is_and_encoding_loses_none_of_it(tokenizer: Path, text: str) -> None:
    text = normalise(text)
    processor = load_tokenizer(tokenizer)
    tokens = processor.encode(text)
    assert normalise(text) == text
    assert processor.decode(tokens) == text
    assert ByteTable.from_tokenizer(tokenizer).total(torch.tensor([1, *tokens])) == len(text.encode())


def test_normalising_joins_lines_and_folds_what_the_tokenizer_cannot_tell_apart() -> None:
    assert normalise("  one\ttwo\n\nthree\0four\u2581five\u00a0ﬁve ") == "one two three four five five"
    assert normalise("verse, plain: ’tis “so” — Ægypt") == "verse, plain: ’tis “so” — Ægypt"


@pytest.mark.parametrize("shard_tokens", [7, 64, 10_000])
def test_shards_hold_each_document_after_a_bos_and_the_rows_tell_of_them(
    tokenizer: Path, tmp_path: Path, shard_tokens: int
) -> None:
    rows = tokenize_to_shards(iter(DOCUMENTS), tokenizer, tmp_path / "val", "val", shard_tokens)
    stream = load_tokens(tmp_path / "val", "val")
    lengths = document_lengths(stream)
    assert rows == [
        DocumentRow("val", hashlib.sha256(text.encode()).hexdigest(), tokens, len(text.encode()))
        for text, tokens in zip(DOCUMENTS, lengths, strict=True)
    ]
    processor = load_tokenizer(tokenizer)
    assert [processor.decode(part.tolist()[1:]) for part in stream.split(lengths)] == DOCUMENTS
    assert len(split_files(tmp_path / "val", "val")) == -(-len(stream) // shard_tokens)
    assert 2 not in stream.tolist(), "no end-of-document token"


def test_more_documents_than_one_batch_come_out_in_order(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tokenize_to_shards(DOCUMENTS, tokenizer, tmp_path / "whole", "train", 1000)
    monkeypatch.setattr("fairway.prepare._ENCODE_BATCH_DOCUMENTS", 3)
    assert tokenize_to_shards(DOCUMENTS, tokenizer, tmp_path / "parts", "train", 1000) == whole
    name = "fineweb_train_000000.bin"
    assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_no_documents_are_refused(tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no train documents"):
        tokenize_to_shards([], tokenizer, tmp_path / "train", "train", 100)
