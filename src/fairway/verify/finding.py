"""What a rule is, what it says, and how findings add up to a verdict."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fairway.verify.facts import Facts, NoEvidence, Scope, SeedFacts
from fairway.verify.tracks import Profile

VerdictName = Literal["PASS", "UNVERIFIABLE", "REVIEW", "FAIL"]

SEVERITY: dict[str, int] = {"PASS": 0, "UNVERIFIABLE": 1, "REVIEW": 2, "FAIL": 3}
"""From harmless to worst; the verdict of a profile is its worst finding."""

CATEGORIES = (
    "adapt_then_score",
    "byte_accounting",
    "calibration_in_eval",
    "does_not_run",
    "evidence_packaging",
    "integrity",
    "last_epoch_score",
    "lossy_tokenizer",
    "partial_validation",
    "ppm_byte_spread",
    "pre_quant_ttt",
    "rescore_two_pass",
    "size",
    "slot",
    "target_keyed_cache",
    "target_reading_gate",
    "time",
    "train_val_overlap",
    "val_in_training",
)
"""What a finding can be about: the kinds of trouble that reviewers know, and ``integrity`` for the rest."""

PROFILES = ("strict", "precedent")
"""The written rule, and what accepted records show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a rule saw, with the place where anybody can see it too."""

    verdict: VerdictName
    message: str
    profile: Profile = "both"
    file: str | None = None
    """Path inside the folder, with forward slashes."""
    line: int | None = None
    rule: str = ""
    """Filled in by ``run``."""
    category: str = ""
    """Kind of trouble; the rule's own where a check gives none."""
    source: str = ""
    """Where the rule is written; the rule's own source where a check gives none."""
    waived: str = ""
    """Why the caller does not count it; empty where it counts. A folder cannot waive anything itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One question to the facts: pure, and the only one of its kind."""

    id: str
    why: str
    """What goes wrong where the rule does not hold."""
    source: str
    scope: Scope | Literal["submission"]
    """``seed``: asked of a run folder of one seed and of a record; ``record``: of a record of ours alone;
    ``submission``: of anybody's folder."""
    check: Callable[[Any], Iterable[Finding]]
    """Over ``Facts``, or over a ``Submission`` where that is the scope."""
    category: str = "integrity"
    """Kind of trouble that its findings are, by the names of ``CATEGORIES``."""
    fix: str = ""
    """What an author does about it."""
    cases: tuple[int, ...] = ()
    """Pull requests of openai/parameter-golf in which it was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the judge says of one folder."""

    folder: str
    """Name of the folder, without the path to it."""
    scope: Scope | Literal["submission"]
    track: str
    rules_version: int
    sums_sha256: str | None
    """SHA-256 of SHA256SUMS: which bytes were judged."""
    findings: tuple[Finding, ...]
    crashes: tuple[str, ...]
    """Rules that ended in an exception; there is no verdict to trust where this is not empty."""
    profiles: tuple[str, ...] = PROFILES
    path: str = ""
    """The folder as it was named to the judge."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was read from the folder, and what arithmetic says of it; empty where nobody asked."""

    def of(self, profile: str) -> VerdictName:
        """The worst finding of one profile that is not waived."""
        seen: list[VerdictName] = [f.verdict for f in self.findings if f.profile in (profile, "both") and not f.waived]
        return worst(seen)

    @property
    def failed(self) -> bool:
        """Whether any profile that was asked for fails."""
        return any(self.of(profile) == "FAIL" for profile in self.profiles)


def worst(verdicts: Sequence[VerdictName]) -> VerdictName:
    """The most severe of some verdicts; PASS of none."""
    return max(verdicts, key=lambda name: SEVERITY[name], default="PASS")


def passed(message: str, **place: Any) -> Finding:
    """A rule that holds, with the numbers that show it."""
    return Finding(verdict="PASS", message=message, **place)


def failed(message: str, **place: Any) -> Finding:
    """A rule that does not hold, shown by arithmetic."""
    return Finding(verdict="FAIL", message=message, **place)


def review(message: str, **place: Any) -> Finding:
    """Something that a person must look at."""
    return Finding(verdict="REVIEW", message=message, **place)


def unverifiable(message: str, **place: Any) -> Finding:
    """A question that the folder does not hold the evidence for."""
    return Finding(verdict="UNVERIFIABLE", message=message, **place)


def each_seed(facts: Facts, check: Callable[[SeedFacts], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of ``check`` for every seed; where one lacks evidence, the others are still looked at."""
    if not facts.seeds:
        raise NoEvidence("there is no seed to look at")
    for seed in facts.seeds.values():
        try:
            yield from check(seed)
        except NoEvidence as missing:
            yield lacking(missing)


def lacking(missing: NoEvidence) -> Finding:
    """The finding of a check that did not get what it needs."""
    return unverifiable(missing.message, file=missing.file, line=missing.line)
