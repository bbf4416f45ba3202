"""What a probe may change about a stream, and what it may not."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import DataError
from fairway.probes.stream import Stream, digest, first_documents, flipped, make_stream, permuted, prefix, redrawn

VOCAB = 9


BOSES = st.integers(0, VOCAB - 1)
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=5).filter(lambda each: sum(each) > 1)


def a_stream(bos: int, lengths: list[int]) -> Stream:
    tokens = [token for n in lengths for token in (bos, *((bos + 1 + i) % VOCAB for i in range(n - 1)))]
    tokens_N = torch.tensor(tokens)
    return make_stream(tokens_N, torch.ones_like(tokens_N), vocab_size=VOCAB, bos=bos)


def source(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(BOSES, LENGTHS, st.integers(0, 9), st.data())
def test_a_flip_changes_just_what_it_names_and_never_a_length(
    bos: int, lengths: list[int], seed: int, data: st.DataObject
) -> None:
    stream = a_stream(bos, lengths)
    able = (~stream.is_bos_N).nonzero().flatten().tolist()
    chosen = data.draw(st.lists(st.sampled_from(able), unique=True)) if able else []
    changed = flipped(stream, chosen, source(seed))
    differs = (changed.tokens_N != stream.tokens_N).nonzero().flatten().tolist()
    assert differs == sorted(chosen) and changed.lengths == stream.lengths


def test_a_flip_draws_every_other_token_and_refuses_a_bos() -> None:
    tokens_N = torch.tensor([4, 7] * 500)
    stream = make_stream(tokens_N, torch.ones_like(tokens_N), vocab_size=VOCAB, bos=4)
    drawn = flipped(stream, range(1, 1000, 2), source()).tokens_N[1::2]
    counts = torch.bincount(drawn, minlength=VOCAB)
    assert counts[4] == counts[7] == 0
    assert all(40 < int(count) < 110 for token, count in enumerate(counts) if token not in (4, 7))
    with pytest.raises(ValueError, match="a BOS decides lengths"):
        flipped(stream, [0], source())


@given(BOSES, LENGTHS)
def test_other_contents_have_equal_lengths(bos: int, lengths: list[int]) -> None:
    stream = a_stream(bos, lengths)
    everywhere = torch.ones_like(stream.is_bos_N)
    assert redrawn(stream, everywhere, source()).lengths == stream.lengths
    mixed = permuted(stream, source())
    assert mixed.lengths == stream.lengths
    assert torch.equal(mixed.tokens_N.sort().values, stream.tokens_N.sort().values)
    nowhere = torch.zeros_like(stream.is_bos_N)
    assert digest(redrawn(stream, nowhere, source())) == digest(stream)


@given(BOSES, LENGTHS, st.integers(1, 5), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_first_documents_are_beginnings_of_documents(
    bos: int, lengths: list[int], documents: int, caps: list[int]
) -> None:
    stream = a_stream(bos, lengths)
    kept = [min(n, caps[i % len(caps)]) for i, n in enumerate(stream.lengths[:documents])]
    if sum(kept) < 2:
        return
    cut = first_documents(stream, documents, tokens=caps)
    assert list(cut.lengths) == kept
    for start, own, n in zip(stream.starts, cut.starts, kept, strict=False):
        assert torch.equal(stream.tokens_N[start : start + n], cut.tokens_N[own : own + n])


def test_a_prefix_ends_where_it_says() -> None:
    stream = make_stream(torch.tensor([1, 5, 6, 1, 7, 8]), torch.arange(6), vocab_size=VOCAB, bos=1)
    assert prefix(stream, 5).lengths == (3, 2)
    assert prefix(stream, 5).bytes_N.tolist() == [0, 1, 2, 3, 4]


def test_parts_that_do_not_fit_are_refused() -> None:
    tokens_N, bytes_N = torch.tensor([1, 5, 6, 1]), torch.ones(4, dtype=torch.int64)
    with pytest.raises(DataError, match="outside 0..5"):
        make_stream(tokens_N, bytes_N, vocab_size=6, bos=1)
    with pytest.raises(DataError, match=r"both must be \(N,\)"):
        Stream(tokens_N=tokens_N, bytes_N=bytes_N[:3], lengths=(3, 1), vocab_size=9, bos=1)
    with pytest.raises(DataError, match="2 documents by its BOS tokens"):
        Stream(tokens_N=tokens_N, bytes_N=bytes_N, lengths=(4,), vocab_size=9, bos=1)
