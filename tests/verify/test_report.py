import json

import pytest

from fairway.verify import schemas
from fairway.verify.finding import Rule
from fairway.verify.report import as_json, as_text, exit_status, read_sealed
from fairway.verify.run import RULES, judge


def crash(facts):
    raise RuntimeError("a mistake")


BROKEN = Rule(id="broken", why="a test", source="a test", scope="seed", check=crash)


def test_the_json_verdict_follows_its_schema_whatever_the_verdict_is(toy, tmp_path):
    toy.write()
    verdicts = [toy.judge(), judge(toy.folder, toy.track, rules=(BROKEN,), profiles=("strict",))]
    toy.put("submission.json", "{")
    verdicts.append(toy.judge())
    for verdict in verdicts:
        value = json.loads(as_json(verdict))
        assert schemas.violations("verdict", value) == []
        assert read_sealed(as_json(verdict)) == value


def test_no_single_changed_byte_of_a_verdict_goes_unseen(toy):
    text = as_json(toy.write().judge())
    for at in range(0, len(text), 97):
        with pytest.raises(ValueError):
            read_sealed(text[:at] + chr(ord(text[at]) ^ 1) + text[at + 1 :])


def test_the_exit_status_is_0_for_a_pass_1_for_a_failure_and_3_for_a_crash(toy):
    toy.write()
    held = toy.judge()
    crashed = judge(toy.folder, toy.track, rules=(BROKEN, *RULES))
    toy.put("submission.json", "{")
    failed = toy.judge()
    assert [exit_status([held]), exit_status([held, failed]), exit_status([failed, crashed])] == [0, 1, 3]


def test_review_and_unverifiable_alone_do_not_fail(toy):
    toy.write()
    toy.put("notes.txt", "x")
    toy.sign()
    toy.leaderboard.unlink()
    verdict = toy.judge()
    assert verdict.of("strict") == "REVIEW" and exit_status([verdict]) == 0


def test_text_tells_the_worst_first_with_file_and_line_and_one_line_a_finding(toy):
    toy.write()
    toy.put("notes.txt", "x")
    toy.put("submission.json", "{\n")
    text = as_text(toy.sign().judge())
    lines = text.splitlines()
    assert lines[0] == "2026-01-02_made_up: strict FAIL, precedent FAIL (track toy, rules version 3)"
    kinds = [line.split()[0] for line in lines[1:]]
    assert kinds == sorted(kinds, key=["FAIL", "REVIEW", "UNVERIFIABLE", "PASS"].index)
    assert any(line.startswith("  FAIL         complete: submission.json: not JSON") for line in lines)


def test_text_shows_every_finding_on_request(toy):
    verdict = toy.write().judge()
    assert len(as_text(verdict).splitlines()) == 2
    assert len(as_text(verdict, all_findings=True).splitlines()) == 1 + len(verdict.findings)
