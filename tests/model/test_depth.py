import pytest

from fairway.model.depth import lanes_from, schedule, skip_slots
from fairway.spec.model import Loops, ModelSpec, NoLoops, OneLane, TwoLanes


def spec(layers=11, loops=None, lanes=None):
    return ModelSpec(
        vocab_size=300,
        layers=layers,
        width=32,
        heads=4,
        kv_heads=2,
        mlp_width=64,
        rope_dims=4,
        loops=loops or NoLoops(),
        lanes=lanes or OneLane(),
    )


def test_the_loops_of_1493_make_seventeen_slots_and_eight_skips():
    depth = schedule(spec(loops=Loops(first=3, last=5)), looped=True)
    assert depth.encoder == (0, 1, 2, 3, 4, 5, 3, 4)
    assert depth.decoder == (5, 3, 4, 5, 6, 7, 8, 9, 10)
    assert depth.skips == 8
    assert skip_slots(spec(loops=Loops(first=3, last=5))) == 8


def test_the_loops_of_1394_make_fifteen_slots():
    depth = schedule(spec(loops=Loops(first=4, last=5)), looped=True)
    assert depth.encoder == (0, 1, 2, 3, 4, 5, 4)
    assert depth.decoder == (5, 4, 5, 6, 7, 8, 9, 10)


def test_before_the_switch_every_layer_runs_once_five_and_six():
    depth = schedule(spec(loops=Loops(first=3, last=5)), looped=False)
    assert depth.encoder == (0, 1, 2, 3, 4)
    assert depth.decoder == (5, 6, 7, 8, 9, 10)
    assert depth.skips == 5


def test_without_loops_the_switch_changes_nothing():
    assert schedule(spec(), looped=True) == schedule(spec(), looped=False)


@pytest.mark.parametrize("extra", [1, 2, 3])
def test_every_looped_layer_runs_once_more_than_extra(extra):
    slots = schedule(spec(loops=Loops(first=2, last=4, extra=extra)), looped=True).slots
    assert [slots.count(layer) for layer in range(11)] == [1, 1, *[1 + extra] * 3, *[1] * 6]


def test_lanes_part_at_the_first_decoder_slot_of_the_start_layer():
    lanes = TwoLanes(start=8)
    looped = spec(loops=Loops(first=3, last=5), lanes=lanes)
    depth = schedule(looped, looped=True)
    assert depth.decoder[lanes_from(looped, depth)] == 8
    assert lanes_from(looped, schedule(looped, looped=False)) == 3
    assert lanes_from(spec(), schedule(spec(), looped=False)) == 6


def test_lanes_part_with_the_decoder_when_they_start_in_the_encoder():
    early = spec(lanes=TwoLanes(start=2))
    assert lanes_from(early, schedule(early, looped=False)) == 0


def test_lanes_never_part_before_a_loop_returns_below_them():
    across = spec(loops=Loops(first=5, last=9), lanes=TwoLanes(start=7))
    depth = schedule(across, looped=True)
    split = lanes_from(across, depth)
    assert depth.decoder[split - 1] < 7
    assert all(layer >= 7 for layer in depth.decoder[split:])
