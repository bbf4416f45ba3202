from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from fairway.score.windows import (
    Span,
    document_chunks,
    document_extents,
    document_rows,
    grouped,
    length_batches,
    sliding_windows,
)

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=12)


def targets_of(spans: list[Span]) -> list[int]:
    return list(chain.from_iterable(range(span.start, span.stop) for span in spans))


@given(LENGTHS)
def test_documents_hold_each_target_once_and_the_next_bos_as_their_last(lengths: list[int]) -> None:
    extents = document_extents(lengths)
    held = list(chain.from_iterable(range(each.begin + 1, each.end + 1) for each in extents))
    assert held == list(range(1, sum(lengths)))
    assert [each.targets for each in extents] == [*lengths[:-1], lengths[-1] - 1]
    assert all(one.end == other.begin for one, other in pairwise(extents))


@given(LENGTHS, st.integers(1, 70))
def test_rows_score_each_target_once_from_its_own_document(lengths: list[int], context: int) -> None:
    for extent in document_extents(lengths):
        rows = list(document_rows(extent, context))
        assert targets_of(rows) == list(range(extent.begin + 1, extent.end + 1))
        assert all(row.inputs <= context and row.targets == row.inputs for row in rows)
        assert all(row.context >= extent.begin for row in rows)


@given(LENGTHS, st.integers(1, 70), st.integers(0, 70))
def test_chunks_score_each_target_once_with_all_the_context_there_is(lengths: list[int], chunk: int, more: int) -> None:
    context = chunk + more
    for extent in document_extents(lengths):
        spans = document_chunks(extent, chunk, context)
        assert targets_of(spans) == list(range(extent.begin + 1, extent.end + 1))
        for span in spans:
            end = span.stop - 1
            assert span.inputs == min(context, end - extent.begin)
            assert span.targets == chunk or span is spans[-1]


@given(st.integers(0, 300), st.integers(1, 40), st.data())
def test_windows_score_each_target_once_with_nearly_a_whole_context(
    targets: int, context: int, data: st.DataObject
) -> None:
    stride = data.draw(st.integers(1, context))
    windows = list(sliding_windows(targets, context, stride))
    assert targets_of(windows) == list(range(1, targets + 1))
    for window in windows:
        assert window.context % stride == 0
        assert window.inputs == min(context, targets - window.context)
        assert window is windows[0] or window.start - window.context > context - stride


def test_the_published_run_has_633409_windows() -> None:
    assert sum(1 for _ in sliding_windows(40_540_160, 2048, 64)) == 633_409


def test_fifty_thousand_documents_make_782_batches_of_which_the_longest_16_come_first() -> None:
    extents = document_extents([2 + i * 7919 % 50_000 for i in range(50_000)])
    batches = length_batches(extents, 64)
    assert len(batches) == 782
    assert len(batches[0]) == 16
    assert {len(batch) for batch in batches[1:]} == {64}
    flat = [extents[i].targets for batch in batches for i in batch]
    assert flat == sorted(flat, reverse=True)


@given(LENGTHS, st.integers(1, 5))
def test_batches_hold_each_document_with_targets_once_longest_first(lengths: list[int], batch_docs: int) -> None:
    extents = document_extents(lengths)
    batches = length_batches(extents, batch_docs)
    order = list(chain.from_iterable(batches))
    assert sorted(order) == [i for i, extent in enumerate(extents) if extent.targets]
    assert order == sorted(order, key=lambda i: (extents[i].targets, i), reverse=True)
    assert all(len(batch) == batch_docs for batch in batches[1:])


@given(st.lists(st.integers(1, 30), max_size=30), st.integers(1, 50))
def test_groups_keep_the_order_and_hold_no_more_tokens_than_allowed(inputs: list[int], tokens: int) -> None:
    spans = [Span(0, 1, 1 + length) for length in inputs]
    groups = list(grouped(spans, tokens))
    assert list(chain.from_iterable(groups)) == spans
    assert all(sum(span.inputs for span in group) <= tokens or len(group) == 1 for group in groups)
    for group, following in pairwise(groups):
        assert sum(span.inputs for span in group) + following[0].inputs > tokens
