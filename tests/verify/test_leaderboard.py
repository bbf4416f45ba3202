import json
from pathlib import Path

import pytest

from fairway.errors import DataError
from fairway.verify.leaderboard import append, best_of, public_leaderboard, read_leaderboard, whole_leaderboard

ROOT = Path(__file__).parents[2]
TRACK = ROOT / "workflow" / "tracks" / "10min_16mb.toml"
OWN = {
    "record": "mine",
    "track": "10min_16mb",
    "rules_version": 1,
    "date": "2026-11-22",
    "val_bpb": 1.0,
    "val_loss": 2.0,
    "seed_results": {"1": {"val_bpb": 1.0, "val_loss": 2.0}},
    "predecessor": None,
    "sums_sha256": "0" * 64,
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("track", ["10min_16mb", "non_record_16mb"])
def test_a_public_leaderboard_goes_by_pull_requests_and_names_what_each_had_to_beat(track):
    board = public_leaderboard(TRACK.with_name(f"{track}.toml"))
    assert board is not None and len(board.rows) > 10
    assert [row.pr or 0 for row in board.rows] == sorted(row.pr or 0 for row in board.rows)
    for row in board.rows:
        earlier = [each for each in board.rows if (each.pr or 0) < (row.pr or 0)]
        best = best_of(earlier)
        assert row.track == track and row.predecessor == (None if best is None else best.record)


def test_a_track_without_one_has_none():
    assert public_leaderboard(TRACK.with_name("pocket.toml")) is None


def test_several_runs_of_a_seed_are_all_kept():
    board = public_leaderboard(TRACK)
    assert board is not None
    row = next(row for row in board.rows if row.pr == 77)
    assert list(row.seed_results) == ["1337"] and len(row.scores) == 4


def test_our_own_records_come_after_the_public_ones(tmp_path):
    own = read_leaderboard(write(tmp_path / "own.jsonl", OWN))
    whole = whole_leaderboard("10min_16mb", TRACK, own)
    assert whole is not None and whole.rows[-1].record == "mine" and len(whole.rows) > 50
    assert whole_leaderboard("pocket", TRACK.with_name("pocket.toml"), own) is own
    assert whole_leaderboard("pocket", None, None) is None


@pytest.mark.parametrize("lacks", ["sums_sha256", "val_loss", "seed_results"])
def test_a_record_of_our_own_needs_its_digest_and_seeds(tmp_path, lacks):
    row = {key: value for key, value in OWN.items() if key != lacks}
    with pytest.raises(DataError, match=":1: "):
        read_leaderboard(write(tmp_path / "x.jsonl", row))
    assert read_leaderboard(write(tmp_path / "x.jsonl", {**row, "pr": 7})).rows[0].pr == 7


def test_the_chain_grows_at_its_end_alone(tmp_path):
    path = write(tmp_path / "x.jsonl", OWN)
    before = path.read_bytes()
    append(path, {**OWN, "record": "next", "predecessor": "mine"})
    assert path.read_bytes().startswith(before) and len(read_leaderboard(path).rows) == 2
    with pytest.raises(DataError, match="names no predecessor"):
        append(path, {**OWN, "record": "third"})


def test_the_records_of_this_repository_still_stand():
    rows = read_leaderboard(ROOT / "records" / "leaderboard.jsonl").rows
    assert rows and all(row.sums_sha256 and row.scores and row.ranked for row in rows)
