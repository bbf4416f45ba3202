"""Every rule over the facts of one folder. A rule that crashes is a finding of its own, never a silent pass."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairway.errors import DataError
from fairway.verify.catalogue import SUBMISSION_RULES
from fairway.verify.facts import CHECKSUMS, RECIPE, Facts, NoEvidence, read_record, read_seed
from fairway.verify.finding import PROFILES, Finding, Rule, Verdict, lacking, unverifiable
from fairway.verify.leaderboard import Leaderboard, read_leaderboard
from fairway.verify.rules import (
    bytes_recounted,
    claims_follow_from_logs,
    complete,
    digests,
    disjoint_data,
    environment,
    eval_budget,
    every_target_scored_once,
    fair_method,
    isolation,
    ledger_chain,
    one_program,
    outside_clock,
    probes,
    provenance,
    recipe_that_ran,
    scored_before_learned,
    seeds_distinct,
    significance,
    size_cap,
    train_budget,
)
from fairway.verify.sources.repository import change_in_history
from fairway.verify.submission import Change, Submission, read_submission
from fairway.verify.summary import summary
from fairway.verify.tracks import Track
from fairway.verify.tree import FolderTree, Tree

RULES: tuple[Rule, ...] = (
    complete.RULE,
    digests.RULE,
    size_cap.RULE,
    train_budget.RULE,
    eval_budget.RULE,
    every_target_scored_once.RULE,
    scored_before_learned.RULE,
    fair_method.RULE,
    ledger_chain.RULE,
    bytes_recounted.RULE,
    disjoint_data.RULE,
    seeds_distinct.RULE,
    recipe_that_ran.RULE,
    one_program.RULE,
    claims_follow_from_logs.RULE,
    significance.RULE,
    environment.RULE,
    outside_clock.RULE,
    isolation.RULE,
    probes.RULE,
    provenance.RULE,
)

LEADERBOARD = "leaderboard.jsonl"

READING = "reading"
"""What a crash outside the rules is called."""


def judge(
    folder: Path,
    track: Track,
    *,
    profiles: Sequence[str] = PROFILES,
    leaderboard: Path | None = None,
    public_key: bytes | None = None,
    rules: Sequence[Rule] = RULES,
) -> Verdict:
    """Judge the folder of a record from its files alone.

    ``leaderboard`` is the chain of accepted records; where none is given, ``leaderboard.jsonl`` beside the folder of
    the track is taken if it is there. ``DataError`` if there is no folder, or the leaderboard is broken.
    """
    facts = read_record(folder, track, leaderboard=_leaderboard(folder, leaderboard), public_key=public_key)
    return verdict_of(facts, profiles=profiles, rules=rules)


def check(
    tree: Tree,
    track: Track,
    *,
    path: str,
    profiles: Sequence[str] = PROFILES,
    change: Change | None = None,
    leaderboard: Path | None = None,
    waivers: Mapping[str, str] | None = None,
    with_facts: bool = False,
    public_key: bytes | None = None,
    rules: Sequence[Rule] = SUBMISSION_RULES,
    own_rules: Sequence[Rule] = RULES,
) -> Verdict:
    """Judge anybody's submission; a record of fairway's own is asked the rules for those on top.

    ``path`` is the folder as it was named, ``change`` the pull request that brings it, ``waivers`` the reasons of rules
    that the caller does not count. ``DataError`` if there is no folder, or the leaderboard is broken.
    """
    if isinstance(tree, FolderTree):
        _must_be_folder(tree.folder)
    findings: list[Finding] = []
    crashes: list[str] = []
    facts: Mapping[str, Any] = {}
    chain = _leaderboard(tree.folder, leaderboard) if isinstance(tree, FolderTree) else _given(leaderboard)
    submission = _read(tree, track, path, change, chain, findings, crashes)
    if submission is not None:
        for rule in rules:
            findings += [_named(finding, rule) for finding in _asked(rule, submission, crashes)]
        if with_facts:
            if change is None and isinstance(tree, FolderTree):
                # For the facts alone: what is judged is what the caller named.
                submission = replace(submission, change=change_in_history(tree.folder))
            facts = _summed_up(submission, findings, crashes)
    own = _own(tree, track, chain, profiles, public_key, own_rules, findings, crashes)
    if own is not None:
        findings += own.findings
        crashes += own.crashes
    waived = waivers or {}
    return Verdict(
        folder=tree.name,
        scope="submission",
        track=track.name,
        rules_version=track.rules_version,
        sums_sha256=own.sums_sha256 if own is not None else None,
        findings=tuple(replace(f, waived=waived.get(f.rule, "")) if f.verdict != "PASS" else f for f in findings),
        crashes=tuple(crashes),
        profiles=tuple(profiles),
        path=path,
        facts=facts,
    )


def known_rules() -> Mapping[str, Rule]:
    """Every rule of both kinds, by its id."""
    return {rule.id: rule for rule in (*SUBMISSION_RULES, *RULES)}


def _read(
    tree: Tree,
    track: Track,
    path: str,
    change: Change | None,
    chain: Leaderboard | None,
    findings: list[Finding],
    crashes: list[str],
) -> Submission | None:
    try:
        return read_submission(tree, track, path=path, change=change, leaderboard=chain)
    except Exception as error:  # noqa: BLE001 - a folder that cannot be read must not look like one that is fine
        findings.append(_crash(error, "reading the folder"))
        crashes.append(READING)
        return None


def _summed_up(submission: Submission, findings: list[Finding], crashes: list[str]) -> Mapping[str, Any]:
    try:
        return summary(submission)
    except Exception as error:  # noqa: BLE001 - as above
        findings.append(_crash(error, "summing up the facts"))
        crashes.append(READING)
        return {}


def _crash(error: Exception, doing: str) -> Finding:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return unverifiable(
        f"{doing} crashed, which is a fault of the judge: {reason[:200]}",
        rule=READING,
        source="fairway",
        category="integrity",
    )


def _own(
    tree: Tree,
    track: Track,
    chain: Leaderboard | None,
    profiles: Sequence[str],
    public_key: bytes | None,
    rules: Sequence[Rule],
    findings: list[Finding],
    crashes: list[str],
) -> Verdict | None:
    """The verdict of the rules for fairway's own records; None where the folder is none, or lies in an archive."""
    if not isinstance(tree, FolderTree) or not {RECIPE, CHECKSUMS} <= tree.files.keys():
        return None
    try:
        facts = read_record(tree.folder, track, leaderboard=chain, public_key=public_key)
        return verdict_of(facts, profiles=profiles, rules=rules)
    except Exception as error:  # noqa: BLE001 - as above
        findings.append(_crash(error, "reading the record"))
        crashes.append(READING)
        return None


def _must_be_folder(folder: Path) -> None:
    if not folder.exists():
        raise DataError(f"{folder}: no such folder")
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file, must be a folder, a zip or a tar")


def verify_seed(
    folder: Path,
    track: Track,
    *,
    recipe: Path,
    data: Path,
    code: Path,
    profiles: Sequence[str] = PROFILES,
    rules: Sequence[Rule] = RULES,
) -> Verdict:
    """Judge the run folder of one seed, before there is a record.

    ``data`` is the dataset that it ran on, ``code`` the file that ran.
    """
    return verdict_of(read_seed(folder, track, recipe=recipe, data=data, code=code), profiles=profiles, rules=rules)


def verdict_of(facts: Facts, *, profiles: Sequence[str] = PROFILES, rules: Sequence[Rule] = RULES) -> Verdict:
    """Every rule that is asked of a folder of this kind, over its facts."""
    findings: list[Finding] = []
    crashes: list[str] = []
    for rule in rules:
        if facts.scope == "record" or rule.scope == "seed":
            for finding in _asked(rule, facts, crashes):
                findings.append(_named(finding, rule))
    sums = facts.files.get(CHECKSUMS)
    return Verdict(
        folder=facts.folder,
        scope=facts.scope,
        track=facts.track.name,
        rules_version=facts.track.rules_version,
        sums_sha256=None if sums is None else sums.sha256,
        findings=tuple(findings),
        crashes=tuple(crashes),
        profiles=tuple(profiles),
    )


def _named(finding: Finding, rule: Rule) -> Finding:
    return replace(
        finding, rule=rule.id, source=finding.source or rule.source, category=finding.category or rule.category
    )


def _asked(rule: Rule, facts: Facts | Submission, crashes: list[str]) -> Iterator[Finding]:
    said = 0
    try:
        for finding in rule.check(facts):
            said += 1
            yield finding
        assert said, "a rule that says nothing has not looked"
    except NoEvidence as missing:
        yield lacking(missing)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not look like a rule that holds
        crashes.append(rule.id)
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        yield unverifiable(f"the rule crashed, which is a fault of the judge: {reason[:200]}")


def _given(leaderboard: Path | None) -> Leaderboard | None:
    return None if leaderboard is None else read_leaderboard(leaderboard)


def _leaderboard(folder: Path, given: Path | None) -> Leaderboard | None:
    if given is not None:
        return read_leaderboard(given)
    beside = folder.resolve().parent.parent / LEADERBOARD
    return read_leaderboard(beside) if beside.is_file() else None
