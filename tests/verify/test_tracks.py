from pathlib import Path

import pytest

from fairway.errors import DataError
from fairway.verify.tracks import find_track, load_track, track_of

ROOT = Path(__file__).parents[2]
TRACKS = sorted((ROOT / "workflow" / "tracks").glob("*.toml"))


@pytest.mark.parametrize("path", TRACKS, ids=lambda path: path.stem)
def test_every_track_of_the_workflow_loads_and_each_block_names_its_source(path):
    track = load_track(path)
    assert track.name == path.stem and track.train.limits and track.eval.limits
    blocks = [track.size, track.train, track.eval, track.seeds, *track.gain_tests]
    blocks += [*track.train.limits, *track.eval.limits]
    assert all(len(block.source) > 10 for block in blocks)


def test_the_record_track_has_the_written_numbers():
    track = load_track(ROOT / "workflow" / "tracks" / "10min_16mb.toml")
    strict = {test.profile: test for test in track.gain_tests}["strict"]
    assert (track.size.cap_bytes, track.seeds.least, strict.margin, strict.p_max) == (16_000_000, 3, 0.005, 0.01)
    assert {limit.limit_s for limit in (*track.train.limits, *track.eval.limits) if limit.profile == "strict"} == {
        600.0
    }


def test_parts_that_a_limit_counts_are_parts_of_its_own_budget():
    for path in TRACKS:
        track = load_track(path)
        assert {part for limit in track.train.limits for part in limit.counts} <= {"loop", "replay", "calibrate"}
        assert {part for limit in track.eval.limits for part in limit.counts} <= {"score", "load", "compile"}


@pytest.mark.parametrize(
    "old, new, told",
    [
        ("cap_bytes", "cap_byte", "size"),
        ("budget_s = 600.0", 'budget_s = "ten minutes"', "budget_s"),
        ('name = "10min_16mb"', 'name = "other"', "must be '10min_16mb'"),
        ("[size]", "[size", "no track"),
    ],
)
def test_a_track_with_a_mistake_is_refused_in_one_line_that_names_it(tmp_path, old, new, told):
    path = tmp_path / "10min_16mb.toml"
    path.write_text((ROOT / "workflow" / "tracks" / "10min_16mb.toml").read_text().replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        load_track(path)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_a_track_is_found_above_a_record_and_named_by_its_place(tmp_path):
    record = tmp_path / "records" / "track_pond" / "2026-01-01_x"
    record.mkdir(parents=True)
    (tmp_path / "workflow" / "tracks").mkdir(parents=True)
    wanted = tmp_path / "workflow" / "tracks" / "pond.toml"
    wanted.write_text("")
    assert track_of(record) == "pond"
    assert find_track("pond", [record]) == wanted.resolve()
    with pytest.raises(DataError, match="no workflow/tracks/lake.toml"):
        find_track("lake", [record])
    with pytest.raises(DataError, match="--track"):
        track_of(tmp_path)
