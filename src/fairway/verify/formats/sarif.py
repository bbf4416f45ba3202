"""Verdicts as SARIF 2.1.0, which code scanning shows beside the lines of a pull request.

FAIL is an error, REVIEW a warning, UNVERIFIABLE a note; what holds is left out. A waived finding is there, suppressed
with its reason. Source: OASIS, Static Analysis Results Interchange Format, version 2.1.0.
"""

import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from fairway.verify.finding import Finding, Rule, Verdict
from fairway.verify.formats.escape import printable

_LEVELS = {"FAIL": "error", "REVIEW": "warning", "UNVERIFIABLE": "note"}


def as_sarif(verdicts: Sequence[Verdict], rules: Mapping[str, Rule]) -> str:
    """One run over all folders; ``rules`` are those that can be found, by id."""
    told = [(verdict, finding) for verdict in verdicts for finding in verdict.findings if finding.verdict in _LEVELS]
    ids = sorted({finding.rule for _, finding in told})
    crashed = sorted({rule for verdict in verdicts for rule in verdict.crashes})
    run = {
        "tool": {
            "driver": {
                "name": "fairway check",
                "version": metadata.version("fairway"),
                "rules": [_rule(rule_id, rules.get(rule_id)) for rule_id in ids],
            }
        },
        "invocations": [
            {
                "executionSuccessful": not crashed,
                "toolExecutionNotifications": [
                    {"level": "error", "message": {"text": f"rule {rule} crashed: there is no verdict to trust"}}
                    for rule in crashed
                ],
            }
        ],
        "results": [_result(verdict, finding, ids.index(finding.rule)) for verdict, finding in told],
    }
    document = {
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(document, indent=1) + "\n"


def _rule(rule_id: str, rule: Rule | None) -> dict[str, Any]:
    if rule is None:
        return {"id": rule_id}
    return {
        "id": rule_id,
        "shortDescription": {"text": rule.why},
        "help": {"text": rule.fix or rule.why},
        "properties": {"category": rule.category, "source": rule.source},
    }


def _result(verdict: Verdict, finding: Finding, index: int) -> dict[str, Any]:
    file = PurePosixPath(verdict.path or verdict.folder)
    place: dict[str, Any] = {
        "artifactLocation": {"uri": quote((file / finding.file if finding.file else file).as_posix())}
    }
    if finding.file is not None and finding.line is not None and finding.line > 0:
        place["region"] = {"startLine": finding.line}
    profile = "" if finding.profile == "both" else f" [{finding.profile}]"
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _LEVELS[finding.verdict],
        "message": {"text": printable(f"{finding.verdict}{profile}: {finding.message} (source: {finding.source})")},
        "locations": [{"physicalLocation": place}],
        "properties": {"category": finding.category, "profile": finding.profile, "verdict": finding.verdict},
    }
    if finding.waived:
        result["suppressions"] = [{"kind": "external", "justification": finding.waived}]
    return result
