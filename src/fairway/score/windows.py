"""Which targets are predicted from which inputs: pure functions of lengths, never of tokens.

Positions count in the whole stream of ``N`` tokens. The target at position ``p`` is predicted by the input at
``p - 1``, so position 0 is no target and there are ``N - 1`` of them. Document ``i`` is its own tokens as inputs
and, as targets, all of them but its BOS, plus the BOS of the next document (recipes E.5).
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Span(NamedTuple):
    """Targets ``start..stop-1``, predicted from the inputs ``context..stop-2``."""

    context: int
    start: int
    stop: int

    @property
    def targets(self) -> int:
        """How many are scored; the last so many rows of the forward predict them."""
        return self.stop - self.start

    @property
    def inputs(self) -> int:
        """Length of the forward."""
        return self.stop - 1 - self.context


class Extent(NamedTuple):
    """Inputs ``begin..end-1`` of one document, hence targets ``begin+1..end``."""

    begin: int
    end: int

    @property
    def targets(self) -> int:
        """How many targets the document has: its length, or one less if it is the last."""
        return self.end - self.begin


def document_extents(lengths: Sequence[int]) -> list[Extent]:
    """One extent a document, from lengths in tokens, BOS included; together they hold each target once."""
    extents, begin, total = [], 0, sum(lengths)
    for length in lengths:
        extents.append(Extent(begin, min(begin + length, total - 1)))
        begin += length
    return extents


def document_rows(extent: Extent, context: int) -> Iterator[Span]:
    """Rows of ``context`` inputs that make up a document, each scored whole."""
    for begin in range(extent.begin, extent.end, context):
        yield Span(begin, begin + 1, min(begin + context, extent.end) + 1)


def document_chunks(extent: Extent, chunk: int, context: int) -> list[Span]:
    """Chunks of ``chunk`` targets that make up a document, each predicted from the last ``context`` inputs."""
    spans = []
    for begin in range(extent.begin, extent.end, chunk):
        end = min(begin + chunk, extent.end)
        spans.append(Span(max(extent.begin, end - context), begin + 1, end + 1))
    return spans


def sliding_windows(targets: int, context: int, stride: int) -> Iterator[Span]:
    """Windows at multiples of ``stride``; the first scores all its targets, each other its last ``stride``.

    A window is there while it has a target of its own (start + context - stride < targets). The published
    condition goes on as long as a window holds any input and so scores the tail of the stream twice (recipes E.2).
    """
    if targets > 0:
        yield Span(0, 1, min(context, targets) + 1)
    for begin in range(stride, targets - (context - stride), stride):
        yield Span(begin, begin + context - stride + 1, min(begin + context, targets) + 1)


def grouped(spans: Sequence[Span], tokens: int) -> Iterator[tuple[Span, ...]]:
    """Consecutive spans whose inputs are at most ``tokens`` together; a longer span is a group of its own."""
    group: list[Span] = []
    held = 0
    for span in spans:
        if group and held + span.inputs > tokens:
            yield tuple(group)
            group, held = [], 0
        group.append(span)
        held += span.inputs
    if group:
        yield tuple(group)


def length_batches(extents: Sequence[Extent], batch_docs: int) -> list[tuple[int, ...]]:
    """Document indices in batches: sorted by length (ties by index), cut every ``batch_docs``, longest first.

    The cut starts at the shortest document, so the batch that is not full holds the longest ones and comes first
    (recipes E.5). Inside a batch the longest comes first too: documents then end from the batch's tail, and those
    that go on are always its head. Documents without a target are left out.
    """
    order = sorted((i for i, extent in enumerate(extents) if extent.targets), key=lambda i: (extents[i].targets, i))
    cuts = [order[i : i + batch_docs] for i in range(0, len(order), batch_docs)]
    return [tuple(reversed(cut)) for cut in reversed(cuts)]
