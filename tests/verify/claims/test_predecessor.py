import math
from pathlib import Path

import pytest

from fairway.verify.claims.headline import Headline, Score
from fairway.verify.claims.predecessor import Place, by_order, compare, p_of_gain, predecessor, runs_needed
from fairway.verify.leaderboard import public_leaderboard
from fairway.verify.statistics import welch

TRACKS = Path(__file__).parents[3] / "workflow" / "tracks"
CHAIN = public_leaderboard(TRACKS / "10min_16mb.toml")
assert CHAIN is not None
BY_PR = {row.pr: row for row in CHAIN.rows if row.ranked}


def scores(*values, scale=1.7):
    return Headline(
        scores=tuple(
            Score(file=str(i), seed=i, label=None, val_bpb=v, val_loss=v * scale, eval_s=None, line=None, final=True)
            for i, v in enumerate(values)
        )
    )


def test_every_line_with_runs_has_the_mean_that_the_leaderboard_states_but_for_one():
    off = {
        row.pr
        for row in CHAIN.rows
        if row.scores and abs(sum(s.val_bpb for s in row.scores) / len(row.scores) - row.val_bpb) > 2e-3
    }
    assert off == {86}  # its log is of another run: cases/challenged, evidence_packaging


@pytest.mark.parametrize(("new", "old", "p"), [(1514, 1493, 0.0203), (1769, 1736, 0.0626), (1529, 1514, 0.001)])
def test_the_p_values_that_the_maintainers_published_come_out(new, old, p):
    found = welch([s.val_bpb for s in BY_PR[new].scores], [s.val_bpb for s in BY_PR[old].scores], margin=0.0)
    assert found.p == pytest.approx(p, abs=6e-4)


def test_the_predecessor_is_the_best_of_the_pull_requests_before():
    row = BY_PR[1530]
    place = Place(pr=row.pr, date=row.date, merged=row.merged, row=row)
    assert predecessor(CHAIN, "10min_16mb", place) is BY_PR[1529]
    assert by_order(CHAIN, "10min_16mb", place)["merges"] is BY_PR[1514]


def test_a_stranger_without_a_number_stands_where_its_date_is():
    found = predecessor(CHAIN, "10min_16mb", Place(date="2026-04-02"))
    assert found is BY_PR[1218]
    assert predecessor(CHAIN, "10min_16mb", Place(date="2026-03-01")) is None
    assert predecessor(CHAIN, "10min_16mb", Place(pr=1300)) is BY_PR[1285]


def test_what_does_not_stand_on_the_leaderboard_need_not_be_beaten():
    assert any(not row.ranked and row.val_bpb < 1.16 and row.pr == 61 for row in CHAIN.rows)
    assert predecessor(CHAIN, "10min_16mb", Place(pr=63)) is BY_PR[60]


def test_one_run_is_compared_and_not_tested():
    found = compare(scores(1.0), BY_PR[1493])
    assert found.beats and found.significant is None and found.welch is None
    assert found.gain_nats_per_byte == pytest.approx(0.081 * math.log(2.0))
    with pytest.raises(ValueError):
        compare(scores(), BY_PR[1493])


def test_more_runs_show_smaller_gains():
    needed = runs_needed(0.0060, 0.0010, 0.005, 0.01)
    assert needed is not None and needed > 3
    assert p_of_gain(0.006, 0.001, needed, 0.005) < 0.01 <= p_of_gain(0.006, 0.001, needed - 1, 0.005)
    assert runs_needed(0.005, 0.001, 0.005, 0.01) is None
    assert p_of_gain(0.006, 0.0, 3, 0.005) == 0.0 and p_of_gain(0.004, 0.0, 3, 0.005) == 1.0
