import json
from dataclasses import replace

import pytest

from fairway.errors import DataError
from fairway.verify.leaderboard import append


def accept(toy, worse, record="2026-01-01_before", predecessor=None, spread=0.001):
    """Put a predecessor on the leaderboard whose seeds are worse than this record's by so much."""
    results = {
        str(seed): {
            "val_bpb": toy.scores(seed)["final"]["val_bpb"] + worse + i * spread,
            "val_loss": toy.scores(seed)["final"]["val_loss"] + worse + i * spread,
        }
        for i, seed in enumerate(toy.seeds)
    }
    row = {
        "record": record,
        "track": "toy",
        "rules_version": 3,
        "date": "2026-01-01",
        "val_bpb": sum(each["val_bpb"] for each in results.values()) / 3,
        "val_loss": sum(each["val_loss"] for each in results.values()) / 3,
        "seed_results": results,
        "predecessor": predecessor,
        "sums_sha256": "0" * 64,
    }
    append(toy.leaderboard, row)


def test_the_first_record_of_a_track_is_reported_as_such(toy, said):
    (finding,) = said(toy.write().judge(), "significance")
    assert finding.verdict == "PASS" and "the first record of track toy" in finding.message


def test_a_clear_gain_over_the_predecessor_passes_both_readings(toy, said):
    toy.write()
    accept(toy, worse=1.0)
    findings = said(toy.judge(), "significance")
    assert [(f.profile, f.verdict) for f in findings] == [("strict", "PASS"), ("precedent", "PASS")]
    assert all("2026-01-01_before" in f.message for f in findings)


def test_no_gain_fails_both_readings(toy, said):
    toy.write()
    accept(toy, worse=-0.1)
    assert [f.profile for f in said(toy.judge(), "significance", "FAIL")] == ["strict", "precedent"]


def test_a_small_gain_may_pass_by_precedent_and_fail_by_the_written_rule(toy, said):
    toy.write()
    spread = max(toy.scores(seed)["final"]["val_loss"] for seed in toy.seeds) - min(
        toy.scores(seed)["final"]["val_loss"] for seed in toy.seeds
    )
    accept(toy, worse=spread)
    verdicts = {f.profile: f.verdict for f in said(toy.judge(), "significance")}
    assert verdicts == {"strict": "FAIL", "precedent": "PASS"}


def test_the_best_record_so_far_is_the_one_to_beat_not_the_last(toy, said):
    toy.write()
    accept(toy, worse=0.5, record="2026-01-01_good")
    accept(toy, worse=0.9, record="2026-01-01_worse", predecessor="2026-01-01_good")
    assert all("2026-01-01_good" in f.message for f in said(toy.judge(), "significance"))


def test_a_record_on_the_leaderboard_is_compared_with_those_before_it(toy, said):
    toy.write()
    accept(toy, worse=0.0, record=toy.folder.name, spread=0.0)
    accept(toy, worse=-1.0, record="2026-02-01_later", predecessor=toy.folder.name)
    (finding,) = said(toy.judge(), "significance")
    assert "the first record" in finding.message


def test_a_predecessor_that_is_unknown_or_not_the_best_fails(toy, said):
    toy.write()
    accept(toy, worse=1.0, record="2026-01-01_good")
    accept(toy, worse=2.0, record="2026-01-01_worse", predecessor="2026-01-01_good")
    for named in ("2026-01-01_worse", "2026-01-01_nowhere"):
        toy.put("submission.json", json.dumps({**toy.submission(), "predecessor": named}))
        assert said(toy.sign().judge(), "significance", "FAIL")[0].file == "submission.json"


def test_where_claims_are_named_a_record_without_a_predecessor_makes_none(toy, said):
    toy.write()
    accept(toy, worse=-1.0)
    toy.track = replace(toy.track, claim="named")
    (finding,) = said(toy.judge(), "significance")
    assert finding.verdict == "PASS" and "no claim to beat 2026-01-01_before" in finding.message


def test_where_claims_are_named_a_named_predecessor_must_be_beaten(toy, said):
    toy.write()
    accept(toy, worse=-1.0)
    toy.track = replace(toy.track, claim="named")
    toy.put("submission.json", json.dumps({**toy.submission(), "predecessor": "2026-01-01_before"}))
    assert [f.profile for f in said(toy.sign().judge(), "significance", "FAIL")] == ["strict", "precedent"]


def test_without_a_leaderboard_the_question_is_unverifiable(toy, said):
    toy.write()
    toy.leaderboard.unlink()
    assert [f.verdict for f in said(toy.judge(), "significance")] == ["UNVERIFIABLE"]


def test_a_track_without_a_test_asks_nothing(toy, said):
    toy.write()
    accept(toy, worse=-1.0)
    toy.track = replace(toy.track, gain_tests=())
    assert [f.verdict for f in said(toy.judge(), "significance")] == ["PASS"]


def test_a_broken_leaderboard_is_a_mistake_of_the_caller(toy):
    toy.write()
    toy.leaderboard.write_text('{"record": 1}\n')
    with pytest.raises(DataError, match="leaderboard.jsonl:1"):
        toy.judge()
