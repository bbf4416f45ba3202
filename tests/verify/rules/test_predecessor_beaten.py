import json
import math

import pytest
from submissions import SEEDS, TARGETS, VAL_BYTES, claim, log, submission

from fairway.verify.claims.predecessor import Place
from fairway.verify.facts import NoEvidence
from fairway.verify.leaderboard import Accepted, Leaderboard
from fairway.verify.rules.predecessor_beaten import RULE
from fairway.verify.submission import Change

PER_BPB = math.log(2.0) * VAL_BYTES / TARGETS
"""Nats per token of one bit per byte."""


def scoring(tmp_path, *scores, **changed):
    """The made-up folder of the second of April, when 1.0979 was to be beaten, with these scores."""
    files = {f"train_seed{seed}.log": None for seed in SEEDS}
    seeds = SEEDS[: len(scores)]
    files |= {
        f"train_seed{seed}.log": log(seed, loss=score * PER_BPB) for seed, score in zip(seeds, scores, strict=True)
    }
    value = claim(seeds=seeds, val_bpb=sum(scores) / len(scores), seed_results=None)
    return submission(tmp_path, {**files, "submission.json": json.dumps(value)}, **changed)


def found(read):
    return [(finding.verdict, finding.profile) for finding in RULE.check(read)]


def told(read):
    return " | ".join(finding.message for finding in RULE.check(read))


def test_a_clear_gain_passes_both_and_is_told_in_three_units(tmp_path):
    read = scoring(tmp_path, 1.0800, 1.0805, 1.0795)
    assert set(verdict for verdict, _ in found(read)) == {"PASS"}
    for unit in ("bits per byte", "nats per byte", "nats per token", "#1218", "Welch"):
        assert unit in told(read)


def test_a_gain_below_the_margin_fails_by_the_letter_alone(tmp_path):
    read = scoring(tmp_path, 1.0961, 1.0965, 1.0957)
    assert found(read)[1:] == [("FAIL", "strict"), ("PASS", "precedent")]


def test_a_gain_within_the_scatter_says_how_many_runs_would_show_it(tmp_path):
    read = scoring(tmp_path, 1.0930, 1.0951, 1.0935)
    assert ("FAIL", "strict") in found(read) and "runs of this scatter would show it" in told(read)


def test_worse_than_the_predecessor_is_for_reviewers_to_settle_by_precedent(tmp_path):
    assert found(scoring(tmp_path, 1.12, 1.121, 1.119))[1:] == [("FAIL", "strict"), ("REVIEW", "precedent")]


def test_one_run_shows_no_scatter(tmp_path):
    assert found(scoring(tmp_path, 1.05))[1:] == [("REVIEW", "strict"), ("REVIEW", "precedent")]


def test_the_number_of_the_pull_request_stands_before_the_date(tmp_path):
    change = Change(added=(), modified=(), deleted=(), folders=(), pr=1500)
    assert "#1493" in told(scoring(tmp_path, 1.08, 1.0805, 1.0795, change=change))


def test_a_folder_of_another_track_makes_no_claim(tmp_path):
    read = scoring(tmp_path, 1.3, 1.31, 1.32, track="non_record_16mb")
    assert found(read) == [("PASS", "both")]


def test_without_scores_there_is_no_evidence(tmp_path):
    read = submission(tmp_path, {f"train_seed{seed}.log": None for seed in SEEDS})
    with pytest.raises(NoEvidence):
        found(read)


def test_where_the_order_decides_nothing_fails(tmp_path):
    """The line before it in pull requests is worse than what it beat by dates."""
    rows = [
        Accepted(
            record="a",
            track="10min_16mb",
            rules_version=1,
            date="2026-04-05",
            val_bpb=1.02,
            predecessor=None,
            pr=10,
            line=1,
        ),
        Accepted(
            record="2026-04-02_Made_Up",
            track="10min_16mb",
            rules_version=1,
            date="2026-04-02",
            val_bpb=1.08,
            predecessor="a",
            pr=20,
            line=2,
        ),
        Accepted(
            record="b",
            track="10min_16mb",
            rules_version=1,
            date="2026-04-01",
            val_bpb=1.2,
            predecessor="a",
            pr=15,
            line=3,
        ),
    ]
    read = scoring(tmp_path, 1.0800, 1.0805, 1.0795)
    again = type(read)(
        **{**{name: getattr(read, name) for name in read.__slots__}, "leaderboard": Leaderboard("x.jsonl", tuple(rows))}
    )
    assert Place(row=rows[1]).row is rows[1]
    verdicts = found(again)
    assert ("FAIL", "strict") not in verdicts and ("REVIEW", "both") in verdicts
    assert "depends on the order" in told(again)
