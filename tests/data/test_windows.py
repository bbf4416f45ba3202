"""Loaders that draw windows, against their definitions."""

import math
import tempfile
from collections import Counter
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.batches import TokenBatches
from fairway.data.curriculum import short_documents_first
from fairway.data.prefetch import Prefetched
from fairway.data.shards import shard_name, write_shard
from fairway.data.windows import ShuffledBatches, StridedBatches
from fairway.errors import DataError

CONTEXT = 4
STRIDED = partial(StridedBatches, step_tokens=4 * 2 * CONTEXT)
KINDS = pytest.mark.parametrize("kind", [ShuffledBatches, STRIDED])


def write(folder: Path, lengths: list[int]) -> list[Path]:
    """Shards in which token i of shard s is 1000 s + i, so that a token tells its place."""
    files = [folder / shard_name("train", index) for index in range(len(lengths))]
    for index, (file, length) in enumerate(zip(files, lengths, strict=True)):
        write_shard(file, (1000 * index + np.arange(length)).astype(np.uint16))
    return files


def make(kind, files: list[Path], rank: int = 0, world: int = 1) -> TokenBatches:
    return kind(files, tokens=2 * CONTEXT, context=CONTEXT, rank=rank, world=world)


def places(batches: TokenBatches, count: int) -> list[int]:
    """First tokens of the rows of so many batches."""
    return [place for batch in islice(batches, count) for place in batch.inputs_BT[:, 0].tolist()]


@KINDS
@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(5, 60), min_size=1, max_size=5), world=st.integers(1, 4))
def test_ranks_together_see_what_one_rank_sees_in_the_same_order(kind, lengths, world) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = write(Path(folder), lengths)
        alone = make(kind, files)
        together = [make(kind, files, rank, world) for rank in range(world)]
        for _ in range(10):
            for batches in together:
                mine, whole = next(batches), next(alone)
                assert torch.equal(mine.inputs_BT, whole.inputs_BT) and torch.equal(mine.targets_BT, whole.targets_BT)


@KINDS
def test_rows_are_windows_whose_targets_are_the_tokens_after(tmp_path, kind) -> None:
    for batch in islice(make(kind, write(tmp_path, [40, 50])), 20):
        assert batch.cu_seqlens is None and batch.inputs_BT.shape == batch.targets_BT.shape == (2, CONTEXT)
        assert torch.equal(batch.targets_BT, batch.inputs_BT + 1)
        assert torch.equal(batch.inputs_BT - batch.inputs_BT[:, :1], torch.arange(CONTEXT).expand(2, -1))


@KINDS
def test_reset_begins_again_and_draws_differ_from_each_other(tmp_path, kind) -> None:
    batches = make(kind, write(tmp_path, [60, 60, 60]))
    first = places(batches, 9)
    assert places(batches, 9) != first
    batches.reset()
    assert places(batches, 9) == first


@KINDS
def test_a_shard_without_a_window_is_refused(tmp_path, kind) -> None:
    with pytest.raises(DataError, match="a window needs 5 tokens, the shard has 4"):
        make(kind, write(tmp_path, [40, 4]))


def test_a_shuffle_shows_every_window_of_every_shard_once_before_any_twice(tmp_path) -> None:
    lengths = [41, 26, 33]
    batches = make(ShuffledBatches, write(tmp_path, lengths))
    seen = places(batches, 60)
    starts = 0
    while len(seen) > 30:
        phases = {}
        round_of: list[int] = []
        for place in seen:
            shard, at = divmod(place, 1000)
            phases.setdefault(shard, at % CONTEXT)
            round_of.append(place)
            counts = [(lengths[s] - 1 - phases[s]) // CONTEXT if s in phases else math.inf for s in range(3)]
            if len(round_of) == sum(counts):
                break
        wanted = [1000 * s + phases[s] + CONTEXT * k for s in range(3) for k in range(int(counts[s]))]
        assert sorted(round_of) == wanted and round_of != wanted
        seen = seen[len(round_of) :]
        starts += 1
    assert starts >= 3


def test_a_shard_is_walked_through_before_it_is_seen_again_then_with_another_phase(tmp_path) -> None:
    # 36 tokens have eight windows whatever the phase, and a step takes eight: each step is one round.
    stream = places(make(STRIDED, write(tmp_path, [36])), 20)
    rounds = [stream[first : first + 8] for first in range(0, 40, 8)]
    phases = [one[0] % CONTEXT for one in rounds]
    assert [sorted(one) for one in rounds] == [[phase + CONTEXT * k for k in range(8)] for phase in phases]
    assert len(set(phases)) > 1


def test_a_walk_is_an_arithmetic_progression_with_a_stride_coprime_to_the_windows(tmp_path) -> None:
    loader = make(STRIDED, write(tmp_path, [83]))
    strides = set()
    for _ in range(30):
        walk = loader._walk(0)
        taken = [(walk.take() - walk.phase) // CONTEXT for _ in range(walk.count)]
        steps = {(b - a) % walk.count for a, b in zip(taken, taken[1:], strict=False)}
        assert len(steps) == 1 and math.gcd(*steps, walk.count) == 1
        assert sorted(taken) == list(range(walk.count)) and walk.count == (82 - walk.phase) // CONTEXT
        strides |= steps
    assert len(strides) > 3


def test_a_step_mixes_few_shards_at_first_and_many_in_the_end_and_one_window_of_each_at_least(tmp_path) -> None:
    loader = make(partial(StridedBatches, step_tokens=50 * 2 * CONTEXT), write(tmp_path, [20] * 60))
    first, half, last = (loader._mixed([4] * 60, ramp) for ramp in (0.0, 0.5, 1.0))
    assert [len(mix) for mix in (first, half, last)] == [50, 55, 60]
    small = make(STRIDED, write(tmp_path, [20] * 60))
    assert len(small._mixed([4] * 60, 0.0)) == 8 == len(small._mixed([4] * 60, 1.0))  # one for each window
    for mix in (first, half, last):
        assert sum(count for _, count in mix) == 100 and all(count >= 1 for _, count in mix)
        assert len({shard for shard, _ in mix}) == len(mix)


def test_shards_with_more_left_are_drawn_more_often_by_the_power_of_what_is_left(tmp_path) -> None:
    loader = make(partial(StridedBatches, step_tokens=2 * CONTEXT), write(tmp_path, [20, 20]))
    loader._parts, loader._rows = 1, 1
    for ramp, exponent in ((0.0, 0.9), (1.0, 0.5)):
        drawn = Counter(loader._mixed([1, 16], ramp)[0][0] for _ in range(3000))
        assert drawn[1] / 3000 == pytest.approx(16**exponent / (1 + 16**exponent), abs=0.03)


def test_the_parts_of_a_step_take_turns(tmp_path) -> None:
    files = write(tmp_path, [60] * 12)
    whole = StridedBatches(files, tokens=8 * CONTEXT, context=CONTEXT, rank=0, world=1, step_tokens=8 * CONTEXT)
    parts = StridedBatches(files, tokens=2 * CONTEXT, context=CONTEXT, rank=0, world=1, step_tokens=8 * CONTEXT)
    step = places(whole, 1)
    by_part = [places(parts, 1) for _ in range(4)]
    assert by_part == [step[part::4] for part in range(4)]


@KINDS
def test_prefetched_batches_are_the_same_in_the_same_order_also_after_a_reset(tmp_path, kind) -> None:
    files = write(tmp_path, [60, 60])
    wanted = places(make(kind, files), 9)
    batches = Prefetched(make(kind, files), ahead=3, pin=False)
    assert places(batches, 5) == wanted[:10]
    batches.reset()
    assert places(batches, 9) == wanted


def test_what_goes_wrong_in_the_thread_is_raised_to_the_one_who_waits(tmp_path) -> None:
    inner = make(ShuffledBatches, write(tmp_path, [60, 60]))
    inner._read = lambda place: (_ for _ in ()).throw(DataError("gone"))  # type: ignore[method-assign]
    batches = Prefetched(inner, ahead=2, pin=False)
    with pytest.raises(DataError, match="gone"):
        next(batches)


def test_a_curriculum_begins_with_the_shard_of_the_shortest_documents(tmp_path) -> None:
    files = [tmp_path / shard_name("train", index) for index in range(3)]
    for file, length in zip(files, (9, 3, 5), strict=True):
        write_shard(file, np.array([1, *[7] * (length - 1)] * 10, dtype=np.uint16))
    assert short_documents_first(files) == [files[1], files[2], files[0]]
