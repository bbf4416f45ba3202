from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data import byte_counts
from fairway.data.byte_counts import ByteTable, load_tokenizer, sidecar_bytes, target_bytes
from fairway.data.shards import write_shard
from fairway.errors import DataError
from fairway.prepare import normalise

CASES = {
    "ascii": "The ship left at dawn; 12 of them saw it.",
    "accents": "Café crème, naïve façade, Ångström, smörgåsbord",
    "cjk in the vocabulary": "日本語の文章と漢字。",
    "cjk by bytes": "𠮷 龘 纛 鑫",
    "emoji": "👍🏽 family: 👨‍👩‍👧‍👦 flag: 🇺🇳 heart: ❤️",
    "byte fallback": "ʔəħ ∮ ⟨ψ| ℵ₀ ꙮ",
    "spaces before unknown letters": "ß ħ 龘 1 2 a , . 👍",
    "one letter": "x",
    "nothing": "",
}


def stream_of(tokenizer: Path, *texts: str) -> torch.Tensor:
    processor = load_tokenizer(tokenizer)
    return torch.tensor([token for text in texts for token in (1, *processor.encode(text))], dtype=torch.int32)


@pytest.mark.parametrize("text", CASES.values(), ids=CASES.keys())
def test_bytes_by_table_are_the_utf8_bytes_of_the_text(tokenizer: Path, text: str) -> None:
    text = normalise(text)
    assert ByteTable.from_tokenizer(tokenizer).total(stream_of(tokenizer, text)) == len(text.encode("utf-8"))


def test_the_cases_reach_byte_pieces_lone_spaces_and_whole_pieces(tokenizer: Path) -> None:
    processor = load_tokenizer(tokenizer)
    pieces = {name: processor.encode(text, out_type=str) for name, text in CASES.items()}
    assert any(piece.startswith("<0x") for piece in pieces["cjk by bytes"])
    assert any(piece.startswith("<0x") for piece in pieces["emoji"])
    assert any(piece.startswith("<0x") for piece in pieces["byte fallback"])
    assert "\u2581" in pieces["spaces before unknown letters"]
    assert not any(piece.startswith("<0x") for piece in pieces["cjk in the vocabulary"])


@settings(deadline=None)
@given(texts=st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_a_stream_of_any_texts_counts_the_bytes_of_all_of_them(tokenizer: Path, texts: list[str]) -> None:
    texts = [normalise(text) for text in texts]
    counted = ByteTable.from_tokenizer(tokenizer).total(stream_of(tokenizer, *texts))
    assert counted == sum(len(text.encode("utf-8")) for text in texts)


def test_each_token_counts_what_it_adds_to_the_decoded_text(tokenizer: Path) -> None:
    processor = load_tokenizer(tokenizer)
    text = normalise(" ".join(CASES[name] for name in ("ascii", "accents", "cjk in the vocabulary")))
    ids = processor.encode(text)
    assert not any(processor.is_byte(token) for token in ids)
    added = [
        len(processor.decode(ids[: n + 1]).encode()) - len(processor.decode(ids[:n]).encode()) for n in range(len(ids))
    ]
    assert ByteTable.from_tokenizer(tokenizer).of_targets(torch.tensor([1, *ids])).tolist() == [0, *added]


def test_a_leading_space_counts_after_text_and_not_after_bos_or_unknown(tokenizer: Path) -> None:
    processor = load_tokenizer(tokenizer)
    spaced = next(i for i in range(processor.get_piece_size()) if processor.id_to_piece(i) == "\u2581t")
    table = ByteTable.from_tokenizer(tokenizer)
    by_predecessor = {
        before: int(table.of_targets(torch.tensor([before, spaced]))[1]) for before in (0, 1, 2, 3, 4, spaced)
    }
    assert by_predecessor == {0: 1, 1: 1, 2: 1, 3: 1, 4: 2, spaced: 2}


def test_bos_counts_nothing_and_position_0_is_no_target(tokenizer: Path) -> None:
    table = ByteTable.from_tokenizer(tokenizer)
    assert table.of_targets(torch.tensor([300, 1, 1])).tolist() == [0, 0, 0]
    assert table.of_targets(torch.tensor([], dtype=torch.int32)).tolist() == []


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_counting_in_chunks_changes_no_count(tokenizer: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table = ByteTable.from_tokenizer(tokenizer)
    stream = stream_of(tokenizer, *CASES.values())
    whole = table.of_targets(stream)
    monkeypatch.setattr(byte_counts, "_BYTE_COUNT_CHUNK", chunk)
    assert torch.equal(table.of_targets(stream), whole)


def test_ids_beyond_the_vocabulary_are_refused(tokenizer: Path) -> None:
    table = ByteTable.from_tokenizer(tokenizer)
    for stream in ([1, table.vocab_size], [1, -1]):
        with pytest.raises(DataError, match="do not fit a tokenizer of 420"):
            table.of_targets(torch.tensor(stream))


class FakeProcessor:
    """Stands in for a model that the trainer would never write."""

    def __init__(self, pieces: list[str], control: int, unknown: int, unused: int, byte: int) -> None:
        self.pieces = pieces
        self.is_control = control.__eq__
        self.is_unknown = unknown.__eq__
        self.is_unused = unused.__eq__
        self.is_byte = byte.__eq__

    def get_piece_size(self) -> int:
        return len(self.pieces)

    def id_to_piece(self, token: int) -> str:
        return self.pieces[token]


def test_each_kind_of_piece_has_its_row_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = ["<pad>", "<unk>", "dropped", "<0xE2>", "\u2581", "\u2581é", "é\u2581x", "\u2581\u2581"]
    fake = FakeProcessor(pieces, control=0, unknown=1, unused=2, byte=3)
    monkeypatch.setattr(byte_counts, "load_tokenizer", lambda path: fake)
    table = ByteTable.from_tokenizer(Path("fake"))
    assert table.base_bytes_V.tolist() == [0, 0, 0, 1, 0, 2, 6, 3]
    assert table.leading_space_V.tolist() == [False, False, False, False, True, True, False, True]
    assert table.boundary_V.tolist() == [True, True, True, False, False, False, False, False]


def test_a_vocabulary_without_the_lone_space_piece_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeProcessor(["<pad>", "<unk>", "dropped", "<0xE2>", "\u2581é", "x"], 0, 1, 2, 3)
    monkeypatch.setattr(byte_counts, "load_tokenizer", lambda path: fake)
    with pytest.raises(DataError, match=r"none is U\+2581 alone"):
        ByteTable.from_tokenizer(Path("fake"))
    fake.pieces[4] = "é"
    assert ByteTable.from_tokenizer(Path("fake")).base_bytes_V.tolist() == [0, 0, 0, 1, 2, 1]


def test_a_file_that_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        load_tokenizer(tmp_path / "absent.model")
    (tmp_path / "bad.model").write_bytes(b"no model at all")
    with pytest.raises(DataError, match="is not a SentencePiece model"):
        load_tokenizer(tmp_path / "bad.model")


def test_sidecars_go_before_the_table_and_position_0_is_no_target(tokenizer: Path, tmp_path: Path) -> None:
    tokens = torch.tensor([1, 300, 301, 302], dtype=torch.int32)
    write_shard(tmp_path / "fineweb_val_000000.bin", tokens.numpy().astype(np.uint16))
    table = ByteTable.from_tokenizer(tokenizer).of_targets(tokens)
    assert torch.equal(target_bytes(tmp_path, tokens, tokenizer), table)
    write_shard(tmp_path / "fineweb_val_bytes_000000.bin", np.array([4, 7, 8, 9], dtype=np.uint16))
    assert sidecar_bytes(tmp_path).tolist() == [4, 7, 8, 9]
    assert target_bytes(tmp_path, tokens, tokenizer).tolist() == [0, 7, 8, 9]
    with pytest.raises(DataError, match="count 4 tokens, the shards have 3"):
        target_bytes(tmp_path, tokens[:3], tokenizer)


def test_sidecars_of_another_length_or_number_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "fineweb_val_000000.bin", np.ones(4, dtype=np.uint16))
    write_shard(tmp_path / "fineweb_val_bytes_000000.bin", np.ones(3, dtype=np.uint16))
    with pytest.raises(DataError, match="3 byte counts for the 4 tokens"):
        sidecar_bytes(tmp_path)
    write_shard(tmp_path / "fineweb_val_000001.bin", np.ones(4, dtype=np.uint16))
    with pytest.raises(DataError, match="2 validation shards but 1 byte sidecars"):
        sidecar_bytes(tmp_path)
