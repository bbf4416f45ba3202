"""The made-up dataset: every place is told by two neighbours, and the field's own readers read it."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from fairway.data.byte_counts import ByteTable
from fairway.data.shards import load_tokens
from fairway.errors import FairwayError
from fairway.probes.align import counts, positions
from fairway.probes.script_data import BOS, make_up, tokenizer, write_dataset

MADE = make_up(96, 700, 2000)


@pytest.mark.parametrize("name", ["base", "one", "rest"])
def test_pairs_of_neighbours_occur_once_and_not_in_training(name):
    stream = MADE.streams[name]
    pairs = list(zip(stream, stream[1:], strict=False))
    assert len(set(pairs)) == len(pairs)
    assert not set(pairs) & set(zip(MADE.train, MADE.train[1:], strict=False))


def test_a_change_keeps_documents_and_all_that_is_before_it():
    base = MADE.streams["base"]
    for name, flip in MADE.flips.items():
        changed = MADE.streams[name]
        assert ((changed == BOS) == (base == BOS)).all()
        (moved,) = np.nonzero(changed != base)
        assert moved[0] == flip.start and moved[-1] < flip.stop
        inside = base[flip.start : flip.stop] != BOS
        assert len(moved) == inside.sum()


@given(st.lists(st.tuples(st.integers(1, 690), st.integers(3, 40)), min_size=1, max_size=6))
def test_pieces_of_the_stream_are_found_whatever_stands_beside_them(pieces):
    base = MADE.streams["base"]
    parts = [base[start : start + size] for start, size in pieces]
    found = positions(np.concatenate(parts), base, 96)
    expected = np.concatenate(
        [np.arange(start, start + len(part)) for (start, _), part in zip(pieces, parts, strict=True)]
    )
    assert (found == expected).mean() >= 1.0 - len(pieces) / len(found)  # two pieces may meet in a pair of the stream


def test_training_targets_are_no_places():
    assert (positions(MADE.train, MADE.streams["base"], 96) < 0).all()
    assert positions(np.array([5]), MADE.streams["base"], 96).tolist() == [-1]
    assert counts(np.array([2, -1, 2, 0]), 4).tolist() == [1, 0, 2, 0]


@pytest.mark.parametrize("vocab_size", [64, 1024, 8192])
def test_the_tokenizer_is_one(vocab_size):
    model = SentencePieceProcessor(model_proto=tokenizer(vocab_size))
    ids = (model.pad_id(), model.bos_id(), model.eos_id(), model.unk_id())
    assert (model.vocab_size(), ids) == (vocab_size, (0, 1, 2, 3))
    assert all(model.is_control(token) for token in (0, 1, 2)) and model.is_unknown(3)
    assert model.decode([model.piece_to_id("w0"), model.piece_to_id("\u2581w1")]) == "w0 w1"
    assert model.is_byte(4) == (vocab_size > 512)


def test_shards_and_bytes_are_read_by_what_reads_the_real_ones(tmp_path):
    places = write_dataset(MADE, "one", tmp_path)
    shards = Path(places["DATA_PATH"])
    assert shards == Path(places["DATA_DIR"], "datasets", "fineweb10B_sp96")
    tokens = load_tokens(shards, "val")
    assert tokens.tolist() == MADE.streams["one"].tolist()
    assert load_tokens(shards, "train").tolist() == MADE.train.tolist()
    assert ByteTable.from_tokenizer(Path(places["TOKENIZER_PATH"])).total(tokens) > 2 * len(tokens)


def test_too_many_tokens_for_a_vocabulary_are_refused():
    with pytest.raises(FairwayError, match=r"over 64 tokens may have 128\.\.600 of them, got 5000"):
        make_up(64, 5000, 100)
