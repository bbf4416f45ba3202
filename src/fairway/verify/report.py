"""A verdict for people and for machines, and the exit status that goes with it."""

import json
from collections.abc import Sequence
from typing import Any

from fairway.verify import schemas, strict_json
from fairway.verify.finding import SEVERITY, Finding, Verdict
from fairway.verify.formats.escape import printable

FORMAT = "fairway-verdict"
VERSION = 1

EXIT_PASS = 0
EXIT_FAIL = 1
EXIT_USAGE = 2
EXIT_INTERNAL = 3


def as_text(verdict: Verdict, *, all_findings: bool = False) -> str:
    """What people read: the verdict, then findings, worst first; those that hold in one line unless all are wanted."""
    told = [f for f in verdict.findings if all_findings or f.verdict != "PASS"]
    told.sort(key=lambda finding: -SEVERITY[finding.verdict])
    heading, holding, crashes = summary_line(verdict, all_findings=all_findings)
    return "\n".join([heading, *(f"  {_line(finding)}" for finding in told), *holding, *crashes]) + "\n"


def summary_line(verdict: Verdict, *, all_findings: bool = False) -> tuple[str, list[str], list[str]]:
    """The heading; what holds, in one line at most; what crashed, in one line at most."""
    judged = ", ".join(f"{profile} {verdict.of(profile)}" for profile in verdict.profiles)
    about = f"(track {verdict.track}, rules version {verdict.rules_version})"
    heading = f"{printable(verdict.folder)}: {judged} {about}"
    troubled = {finding.rule for finding in verdict.findings if finding.verdict != "PASS"}
    holding = list(dict.fromkeys(f.rule for f in verdict.findings if f.rule not in troubled))
    held = [f"  {'PASS':<12} {', '.join(holding)}"] if holding and not all_findings else []
    crashed = f"  no verdict: {', '.join(verdict.crashes)} crashed, which is a fault of the judge"
    return heading, held, [crashed] if verdict.crashes else []


def as_object(verdict: Verdict) -> dict[str, Any]:
    """What machines read (``schemas/verdict.schema.json``), with a seal over all of it."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "folder": verdict.folder,
        "scope": verdict.scope,
        "track": verdict.track,
        "rules_version": verdict.rules_version,
        "sums_sha256": verdict.sums_sha256,
        "verdict": {profile: verdict.of(profile) for profile in verdict.profiles},
        "findings": [
            {
                "rule": finding.rule,
                "verdict": finding.verdict,
                "profile": finding.profile,
                "message": finding.message,
                "file": finding.file,
                "line": finding.line,
                "source": finding.source,
            }
            for finding in verdict.findings
        ],
        "crashes": list(verdict.crashes),
    }
    return {**content, "seal": strict_json.sha256_of(content)}


def as_json(verdict: Verdict) -> str:
    """The text of verdict.json."""
    return _spelled(as_object(verdict))


def read_sealed(text: str) -> dict[str, Any]:
    """The content of a verdict.json that ``as_json`` wrote; ``ValueError`` if as much as a blank was changed."""
    value = strict_json.parse(text)
    wrong = schemas.violations("verdict", value, most=1)
    if wrong:
        raise ValueError(wrong[0])
    content = {key: entry for key, entry in value.items() if key != "seal"}
    if strict_json.sha256_of(content) != value["seal"]:
        raise ValueError("its seal is not that of its content: it was edited")
    if _spelled(value) != text:
        raise ValueError("it is not spelled as the judge spells it: it was edited")
    found: dict[str, Any] = value
    return found


def exit_status(verdicts: Sequence[Verdict]) -> int:
    """3 if a rule crashed, else 1 if a profile that was asked for fails anywhere, else 0."""
    if any(verdict.crashes for verdict in verdicts):
        return EXIT_INTERNAL
    return EXIT_FAIL if any(verdict.failed for verdict in verdicts) else EXIT_PASS


def _spelled(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def place_of(finding: Finding) -> str:
    """File and line of a finding, as far as it has them."""
    if finding.file is None:
        return ""
    return finding.file if finding.line is None else f"{finding.file}:{finding.line}"


def _line(finding: Finding) -> str:
    place = place_of(finding)
    profile = "" if finding.profile == "both" else f" [{finding.profile}]"
    waived = f" (waived: {finding.waived})" if finding.waived else ""
    said = printable(f"{f'{place}: ' if place else ''}{finding.message}{waived}")
    return f"{finding.verdict:<12} {finding.rule}{profile}: {said}"
