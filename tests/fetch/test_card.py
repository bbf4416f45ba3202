"""Cards against counting by hand, with documents that cross shards, and copies planted."""

import json
import random

import numpy as np
import pytest

import fairway.fetch.card as card_module
from fairway.data.shards import write_shard
from fairway.errors import DataError
from fairway.fetch.card import card_json, card_markdown, data_card


def write(folder, split, documents, cuts):
    stream = [token for document in documents for token in (1, *document)]
    bounds = [0, *cuts, len(stream)]
    folder.mkdir(exist_ok=True)
    for index, (start, stop) in enumerate(zip(bounds, bounds[1:], strict=False)):
        write_shard(folder / f"fineweb_{split}_{index:06d}.bin", np.array(stream[start:stop], dtype=np.uint16))
    return stream


@pytest.fixture
def documents():
    draw = random.Random(3)
    return [[draw.randrange(4, 400) for _ in range(draw.randrange(1, 40))] for _ in range(60)]


@pytest.mark.parametrize("block", [7, 64, 1 << 24])
def test_a_card_counts_what_is_there(tmp_path, documents, monkeypatch, block):
    monkeypatch.setattr(card_module, "_BLOCK_TOKENS", block)
    val, train = documents[:20], documents[20:]
    write(tmp_path / "val", "val", val, [33])
    stream = write(tmp_path / "train", "train", train, [50, 51, 300])
    card = data_card(tmp_path / "train", tmp_path / "val", None, lambda line: None)
    assert (card.val.documents, card.train.documents) == (20, 40)
    assert card.train.tokens == len(stream) and card.train.bytes is None
    assert [shard.tokens for shard in card.train.shards] == [50, 1, 249, len(stream) - 300]
    assert card.overlap.documents == card.overlap.within == 0


@pytest.mark.parametrize("cuts", [[], [40], [200, 201]])
def test_planted_copies_are_found_wherever_shards_are_cut(tmp_path, documents, cuts):
    val = [*documents[:20], documents[3]]
    write(tmp_path / "val", "val", val, [25])
    write(tmp_path / "train", "train", [*documents[20:40], documents[5], *documents[40:], documents[19]], cuts)
    overlap = data_card(tmp_path / "train", tmp_path / "val", None, lambda line: None).overlap
    assert [number for number, _ in overlap.examples] == [5, 19]
    assert (overlap.documents, overlap.within) == (2, 1)
    assert overlap.tokens == len(documents[5]) + len(documents[19])


def test_a_part_of_a_document_is_no_copy(tmp_path, documents):
    long = next(document for document in documents if len(document) > 10)
    write(tmp_path / "val", "val", [long], [])
    write(tmp_path / "train", "train", [long[:-1], long[1:], [*long, 7]], [])
    assert data_card(tmp_path / "train", tmp_path / "val", None, lambda line: None).overlap.documents == 0


def test_both_forms_say_the_same(tmp_path, documents):
    write(tmp_path / "val", "val", documents[:3], [])
    write(tmp_path / "train", "train", documents[2:9], [])
    card = data_card(tmp_path / "train", tmp_path / "val", None, lambda line: None)
    told = json.loads(card_json(card))
    assert told["overlap"]["documents"] == 1 and told["val"]["shards"][0]["documents"] == 3
    assert "1 of 3 validation documents (33.33%" in card_markdown(card, "x")


def test_a_stream_that_begins_in_a_document_is_refused(tmp_path):
    for split in ("train", "val"):
        folder = tmp_path / split
        folder.mkdir()
        write_shard(folder / f"fineweb_{split}_000000.bin", np.array([7, 1, 8], dtype=np.uint16))
    with pytest.raises(DataError, match="must begin with a document"):
        data_card(tmp_path / "train", tmp_path / "val", None, lambda line: None)
