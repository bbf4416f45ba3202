"""The interval arithmetic of the ledger against sets of positions."""

from hypothesis import given
from hypothesis import strategies as st

from fairway.verify.ledger import ScoredSpan, ScoringOrder, coverage


def spans_of(cuts, order):
    bounds = sorted({1, 20, *cuts})
    pieces = list(zip(bounds, bounds[1:], strict=False))
    order.shuffle(pieces)
    return [ScoredSpan(i + 1, i + 2, 0, start, stop, 1.0, 1) for i, (start, stop) in enumerate(pieces)]


@given(st.lists(st.integers(2, 19), max_size=6), st.randoms(use_true_random=False), st.data())
def test_order_of_scoring_agrees_with_a_set_of_positions(cuts, order, data):
    spans = spans_of(cuts, order)
    start = data.draw(st.integers(1, 21))
    stop = data.draw(st.integers(start + 1, 22))
    entry = data.draw(st.integers(1, len(spans) + 1))
    known = {p for span in spans if span.entry < entry for p in range(span.start, span.stop)}
    expected = next((p for p in range(start, stop) if p not in known), None)
    assert ScoringOrder(spans).first_unscored(start, stop, before_entry=entry) == expected


@given(
    st.lists(st.integers(2, 19), max_size=6), st.randoms(use_true_random=False), st.sets(st.integers(0, 19)), st.data()
)
def test_known_inputs_agree_with_a_set_of_positions(cuts, order, starts, data):
    spans = spans_of(cuts, order)
    rank = data.draw(st.integers(0, len(spans) - 1))
    context = data.draw(st.integers(0, spans[rank].start - 1))
    span = spans[rank]._replace(context=context)
    known = {p for earlier in spans[:rank] for p in range(earlier.start, earlier.stop)} | starts
    expected = next((p for p in range(context, span.start) if p not in known), None)
    assert ScoringOrder(spans).first_unknown_input(span, rank, frozenset(starts)) == expected


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), max_size=6))
def test_coverage_is_silent_exactly_when_each_target_is_scored_once(pieces):
    spans = [ScoredSpan(i, i, 0, start, start + length, 1.0, 1) for i, (start, length) in enumerate(pieces)]
    positions = sorted(p for span in spans for p in range(span.start, span.stop))
    assert (list(coverage(spans, 12)) == []) == (positions == list(range(1, 13)))
