from typing import Any

import torch
from torch.nn import functional

from fairway.score.flat import FlatEvaluator, segment_offsets

LENGTHS = (13, 1, 30, 7, 2, 22, 5)


def test_offsets_are_where_pieces_begin_and_the_total() -> None:
    offsets = segment_offsets([torch.arange(3), torch.arange(1), torch.arange(4)])
    assert offsets.tolist() == [0, 3, 4, 8]
    assert offsets.dtype == torch.int32


def test_each_row_is_scored_as_if_it_stood_alone(model: Any, streams: Any, run_by_target: Any) -> None:
    stream = streams(LENGTHS)
    losses = run_by_target(FlatEvaluator(model, context=12, batch_tokens=40, looped=True), stream)
    expected, begin = [], 0
    for length in LENGTHS:
        document = stream.tokens[begin : begin + length + 1].long()
        begin += length
        for first in range(0, document.numel() - 1, 12):
            row = document[first : first + 13]
            logits = model(row[None, :-1], looped=True)[0]
            expected.append(functional.cross_entropy(logits, row[1:], reduction="none"))
    torch.testing.assert_close(losses, torch.cat(expected), rtol=1e-5, atol=1e-5)


def test_the_size_of_a_forward_changes_no_score(model: Any, streams: Any, run_by_target: Any) -> None:
    stream = streams(LENGTHS)
    one, other = (
        run_by_target(FlatEvaluator(model, context=12, batch_tokens=tokens, looped=False), stream)
        for tokens in (1, 1000)
    )
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
