"""Verdicts as JSON by ``schemas/check.schema.json``: a list with one object a folder."""

import json
from collections.abc import Sequence
from typing import Any

from fairway.verify.finding import Finding, Verdict

FORMAT = "fairway-check"
VERSION = 1


def as_json(verdicts: Sequence[Verdict]) -> str:
    """The list, in ASCII, so that no file name or message of a stranger can break a reader."""
    return json.dumps([as_object(verdict) for verdict in verdicts], indent=1, allow_nan=False) + "\n"


def as_object(verdict: Verdict) -> dict[str, Any]:
    """One folder."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "folder": verdict.folder,
        "path": verdict.path,
        "track": verdict.track,
        "rules_version": verdict.rules_version,
        "sums_sha256": verdict.sums_sha256,
        "verdict": {profile: verdict.of(profile) for profile in verdict.profiles},
        "facts": dict(verdict.facts),
        "findings": [_finding(finding) for finding in verdict.findings],
        "crashes": list(verdict.crashes),
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "rule": finding.rule,
        "category": finding.category,
        "verdict": finding.verdict,
        "profile": finding.profile,
        "message": finding.message,
        "file": finding.file,
        "line": finding.line,
        "source": finding.source,
        "waived": finding.waived or None,
    }
