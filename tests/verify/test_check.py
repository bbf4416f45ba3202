"""Both sets of rules over one folder: what is asked of whom, what a crash does, what a waiver does."""

from dataclasses import replace
from pathlib import Path

import pytest
from submissions import NAME, track_named, write

from fairway.errors import DataError
from fairway.verify import schemas
from fairway.verify.catalogue import SUBMISSION_RULES
from fairway.verify.finding import CATEGORIES, Rule
from fairway.verify.formats.objects import as_object
from fairway.verify.report import exit_status
from fairway.verify.rules import folder_name
from fairway.verify.run import RULES, check, known_rules
from fairway.verify.tree import FolderTree

ROOT = Path(__file__).resolve().parents[2]


def crash(submission):
    raise ZeroDivisionError("a mistake\nin the judge")


BROKEN = Rule(id="broken", why="a test", source="a test", scope="submission", check=crash)


def judged(folder, **options):
    return check(FolderTree(folder), options.pop("track", None) or track_named(), path=str(folder), **options)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / NAME)


def test_ids_are_distinct_and_each_rule_says_why_where_and_what_to_do():
    ids = [rule.id for rule in (*SUBMISSION_RULES, *RULES)]
    assert len(set(ids)) == len(ids) == len(known_rules())
    assert all(rule.why and rule.source and rule.category in CATEGORIES for rule in SUBMISSION_RULES)
    assert all(rule.fix and rule.scope == "submission" for rule in SUBMISSION_RULES)
    assert all(rule.scope != "submission" for rule in RULES)


def test_every_rule_is_in_the_catalogue_or_the_list_and_has_a_file_of_tests():
    modules = {rule.check.__module__.rpartition(".")[2] for rule in (*SUBMISSION_RULES, *RULES)}
    files = {path.stem for path in (ROOT / "src/fairway/verify/rules").glob("*.py")} - {"__init__"}
    assert files == modules


def test_every_rule_says_something_of_a_strangers_folder(folder):
    verdict = judged(folder, with_facts=True)
    assert {finding.rule for finding in verdict.findings} == {rule.id for rule in SUBMISSION_RULES}
    assert all(f.message and f.source and f.category in CATEGORIES and "\n" not in f.message for f in verdict.findings)
    assert verdict.crashes == () and schemas.violations("check", [as_object(verdict)]) == []


def test_every_rule_says_something_of_an_empty_folder(tmp_path):
    verdict = judged(write(tmp_path / NAME, {}, defaults=False), with_facts=True)
    assert {finding.rule for finding in verdict.findings} == {rule.id for rule in SUBMISSION_RULES}
    assert verdict.crashes == () and verdict.failed


def test_an_own_record_is_asked_the_rules_of_both_kinds(toy):
    toy.write()
    verdict = judged(toy.folder, track=toy.track)
    assert {rule.id for rule in RULES} <= {finding.rule for finding in verdict.findings}
    assert verdict.sums_sha256 is not None


def test_a_rule_that_crashes_is_a_finding_of_its_own_and_stops_no_other(folder):
    verdict = judged(folder, rules=(BROKEN, folder_name.RULE))
    assert verdict.crashes == ("broken",) and exit_status([verdict]) == 3
    assert [(f.rule, f.verdict) for f in verdict.findings] == [("broken", "UNVERIFIABLE"), ("folder-name", "PASS")]


def test_a_rule_that_says_nothing_counts_as_crashed(folder):
    silent = replace(BROKEN, id="silent", check=lambda submission: [])
    assert judged(folder, rules=(silent,)).crashes == ("silent",)


def test_a_reader_that_crashes_is_no_pass(folder, monkeypatch):
    monkeypatch.setattr("fairway.verify.run.read_submission", crash_reading)
    verdict = judged(folder)
    assert verdict.crashes == ("reading",) and verdict.of("strict") == "UNVERIFIABLE" and exit_status([verdict]) == 3


def crash_reading(*arguments, **options):
    raise RecursionError("too deep")


def test_a_waived_rule_does_not_count_but_its_crash_does(tmp_path):
    folder = write(tmp_path / "no day")
    rules = (folder_name.RULE,)
    assert judged(folder, rules=rules).of("strict") == "FAIL"
    waived = judged(folder, rules=rules, waivers={"folder-name": "as agreed"})
    assert waived.of("strict") == "PASS" and {f.waived for f in waived.findings} == {"as agreed"}
    assert exit_status([judged(folder, rules=(BROKEN,), waivers={"broken": "as agreed"})]) == 3


def test_no_folder_and_a_file_instead_are_mistakes_of_the_caller(tmp_path):
    (tmp_path / "file").write_text("x")
    for name in ("nowhere", "file"):
        with pytest.raises(DataError, match=name):
            judged(tmp_path / name)
