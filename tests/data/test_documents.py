import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.documents import document_lengths, document_starts, segment_bounds
from fairway.errors import DataError

documents = st.lists(st.lists(st.integers(2, 9), max_size=20), min_size=1, max_size=12)
streams = st.lists(st.integers(0, 4), min_size=1, max_size=150)


@settings(deadline=None)
@given(documents=documents)
def test_lengths_count_bos_and_add_up_to_the_stream(documents: list[list[int]]) -> None:
    stream = torch.tensor([token for document in documents for token in (1, *document)], dtype=torch.int32)
    assert document_lengths(stream) == [1 + len(document) for document in documents]
    assert stream[document_starts(stream)].tolist() == [1] * len(documents)


@pytest.mark.parametrize("stream", [[], [5], [5, 1, 2]])
def test_a_stream_that_does_not_begin_with_bos_is_refused(stream: list[int]) -> None:
    with pytest.raises(DataError, match="begins with BOS"):
        document_lengths(torch.tensor(stream, dtype=torch.int32))


@settings(deadline=None)
@given(stream=streams, max_len=st.integers(1, 12))
def test_segments_begin_at_position_0_at_bos_and_where_one_is_full(stream: list[int], max_len: int) -> None:
    wanted = [0]
    for position in range(1, len(stream)):
        if stream[position] == 1 or position - wanted[-1] == max_len:
            wanted.append(position)
    bounds = segment_bounds(torch.tensor(stream), max_len)
    assert bounds.dtype == torch.int32
    assert bounds[: len(wanted)].tolist() == wanted
    padding = bounds[len(wanted) :].tolist()
    assert padding and set(padding) == {len(stream)}
    assert len(bounds) % 64 == 0 and len(padding) <= 64
