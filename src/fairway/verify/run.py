"""Every rule over the facts of one folder. A rule that crashes is a finding of its own, never a silent pass."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fairway.verify.facts import CHECKSUMS, Facts, NoEvidence, read_record, read_seed
from fairway.verify.finding import PROFILES, Finding, Rule, Verdict, lacking, unverifiable
from fairway.verify.leaderboard import Leaderboard, read_leaderboard
from fairway.verify.rules import (
    bytes_recounted,
    claims_follow_from_logs,
    complete,
    digests,
    disjoint_data,
    eval_budget,
    every_target_scored_once,
    ledger_chain,
    one_program,
    recipe_that_ran,
    scored_before_learned,
    seeds_distinct,
    significance,
    size_cap,
    train_budget,
)
from fairway.verify.tracks import Track

RULES: tuple[Rule, ...] = (
    complete.RULE,
    digests.RULE,
    size_cap.RULE,
    train_budget.RULE,
    eval_budget.RULE,
    every_target_scored_once.RULE,
    scored_before_learned.RULE,
    ledger_chain.RULE,
    bytes_recounted.RULE,
    disjoint_data.RULE,
    seeds_distinct.RULE,
    recipe_that_ran.RULE,
    one_program.RULE,
    claims_follow_from_logs.RULE,
    significance.RULE,
)

LEADERBOARD = "leaderboard.jsonl"


def judge(
    folder: Path,
    track: Track,
    *,
    profiles: Sequence[str] = PROFILES,
    leaderboard: Path | None = None,
    rules: Sequence[Rule] = RULES,
) -> Verdict:
    """Judge the folder of a record from its files alone.

    ``leaderboard`` is the chain of accepted records; where none is given, ``leaderboard.jsonl`` beside the folder of
    the track is taken if it is there. ``DataError`` if there is no folder, or the leaderboard is broken.
    """
    facts = read_record(folder, track, leaderboard=_leaderboard(folder, leaderboard))
    return verdict_of(facts, profiles=profiles, rules=rules)


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


def _asked(rule: Rule, facts: Facts, crashes: list[str]) -> Iterator[Finding]:
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


def _leaderboard(folder: Path, given: Path | None) -> Leaderboard | None:
    if given is not None:
        return read_leaderboard(given)
    beside = folder.resolve().parent.parent / LEADERBOARD
    return read_leaderboard(beside) if beside.is_file() else None
