import tempfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.batches import Batch, TokenBatches, contiguous_batches, packed_batches
from fairway.data.shards import shard_name, write_shard
from fairway.errors import DataError

Make = Callable[..., TokenBatches]
shards = st.lists(st.lists(st.sampled_from([1, 2, 3, 4, 5]), min_size=14, max_size=60), min_size=1, max_size=3)


def write(folder: Path, contents: list[list[int]]) -> list[Path]:
    files = [folder / shard_name("train", index) for index in range(len(contents))]
    for file, tokens in zip(files, contents, strict=True):
        write_shard(file, np.array(tokens, dtype=np.uint16))
    return files


def spans(batches: TokenBatches, count: int) -> list[list[int]]:
    return [
        [*batch.inputs_BT.flatten().tolist(), int(batch.targets_BT.flatten()[-1])] for batch in islice(batches, count)
    ]


def equal(a: Batch, b: Batch) -> bool:
    same_tokens = torch.equal(a.inputs_BT, b.inputs_BT) and torch.equal(a.targets_BT, b.targets_BT)
    if a.cu_seqlens is None or b.cu_seqlens is None:
        return same_tokens and a.cu_seqlens is b.cu_seqlens
    return same_tokens and torch.equal(a.cu_seqlens, b.cu_seqlens)


@pytest.mark.parametrize("make", [packed_batches, contiguous_batches])
@settings(max_examples=30, deadline=None)
@given(contents=shards, world=st.integers(1, 4))
def test_ranks_together_see_what_one_rank_sees_in_the_same_order(
    make: Make, contents: list[list[int]], world: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), [[1] * 13 + tokens for tokens in contents])
        alone = make(files, tokens=12, context=4)
        together = [make(files, tokens=12, context=4, rank=rank, world=world) for rank in range(world)]
        for _ in range(12):
            for batches in together:
                assert equal(next(batches), next(alone))


@settings(max_examples=30, deadline=None)
@given(contents=shards)
def test_contiguous_spans_are_one_wrapping_stream(contents: list[list[int]]) -> None:
    stream = sum(contents, [])
    with tempfile.TemporaryDirectory() as folder:
        got = spans(contiguous_batches(write(Path(folder), contents), tokens=12, context=4), 20)
    assert got == [[stream[i % len(stream)] for i in range(13 * k, 13 * k + 13)] for k in range(20)]


@settings(max_examples=30, deadline=None)
@given(contents=shards)
def test_packed_spans_begin_with_a_document_in_each_shard_and_cross_no_end(contents: list[list[int]]) -> None:
    contents = [[7, 7, 1, *[2] * 12, *tokens] for tokens in contents]
    wanted: list[list[int]] = []
    while len(wanted) < 20:
        for tokens in contents:
            wanted += [tokens[start : start + 13] for start in range(2, len(tokens) - 12, 13)]
    with tempfile.TemporaryDirectory() as folder:
        got = spans(packed_batches(write(Path(folder), contents), tokens=12, context=4), 20)
    assert got == wanted[:20]


def test_packed_rows_are_flat_with_bounds_and_contiguous_rows_are_not(tmp_path: Path) -> None:
    files = write(tmp_path, [[1, 5, 6, 7, 8, 9, 1, 2, 3]])
    packed = next(packed_batches(files, tokens=8, context=3))
    assert packed.inputs_BT.tolist() == [[1, 5, 6, 7, 8, 9, 1, 2]]
    assert packed.targets_BT.tolist() == [[5, 6, 7, 8, 9, 1, 2, 3]]
    assert packed.cu_seqlens is not None and packed.cu_seqlens.tolist() == [0, 3, 6] + [8] * 61
    contiguous = next(contiguous_batches(files, tokens=8, context=4))
    assert contiguous.inputs_BT.tolist() == [[1, 5, 6, 7], [8, 9, 1, 2]]
    assert contiguous.targets_BT.tolist() == [[5, 6, 7, 8], [9, 1, 2, 3]]
    assert contiguous.cu_seqlens is None


@pytest.mark.parametrize("make", [packed_batches, contiguous_batches])
def test_reset_begins_again_with_the_first_batch(tmp_path: Path, make: Make) -> None:
    files = write(tmp_path, [[1, *range(2, 40)], [1, *range(40, 90)]])
    batches = make(files, tokens=8, context=4)
    first = spans(batches, 7)
    assert spans(batches, 7) != first
    batches.reset()
    assert spans(batches, 7) == first


@pytest.mark.parametrize("make", [packed_batches, contiguous_batches])
def test_shards_that_hold_no_micro_batch_are_refused(tmp_path: Path, make: Make) -> None:
    with pytest.raises(DataError, match="needs"):
        make(write(tmp_path, [[1, 2, 3, 4, 5, 6, 7, 8]]), tokens=8, context=4)
    with pytest.raises(DataError, match="no shards"):
        make([], tokens=8, context=4)


def test_a_shard_in_which_no_document_begins_is_refused_for_packing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no document begins"):
        packed_batches(write(tmp_path, [[2] * 20]), tokens=8, context=4)


def test_a_batch_moves_whole() -> None:
    batch = Batch(torch.zeros(1, 4, dtype=torch.int64), torch.ones(1, 4, dtype=torch.int64), torch.zeros(64).int())
    moved = batch.to(torch.device("meta"))
    assert moved.cu_seqlens is not None
    assert {moved.inputs_BT.device.type, moved.targets_BT.device.type, moved.cu_seqlens.device.type} == {"meta"}
