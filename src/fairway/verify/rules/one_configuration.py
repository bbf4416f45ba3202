"""All seeds ran one configuration: the settings and the program that their logs print are the same."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.logs.asked import at, trained
from fairway.verify.logs.facts import LogFacts
from fairway.verify.submission import Submission

MOST_TOLD = 6
_OWN = re.compile(
    r"seed|(?:^|_)(?:id|dir|path|paths|file|files|name|host|port|rank|time|date|uuid|pattern|url|device|pid|prefix|tag)$"
    r"|^(?:run|log|logfile|logs?|tokens?|step|loss|memory|peak|allocated|reserved|swa|ema|late_qat|frac|eta|saved|scale|t|elapsed)\b"
)
"""Names of settings that differ between runs of one configuration."""
_MEASURED = re.compile(r".*\d\.\d{3,}.*|.*\d(?:ms|s|MiB|MB|x|%)$|0x\w+")
"""Values that are measured, not set."""


def _check(submission: Submission) -> Iterator[Finding]:
    logs = trained(submission)
    if len(logs) < 2:
        raise NoEvidence("one log alone cannot differ from others", file=logs[0].file)
    found = [*_settings(logs), *_programs(logs)]
    yield from found
    if not found:
        shared = len(set.intersection(*(set(log.settings) for log in logs)))
        yield passed(f"{len(logs)} logs agree on {shared} settings")


def _settings(logs: Sequence[LogFacts]) -> Iterator[Finding]:
    usual = _usual(logs)
    for log in logs:
        other = {
            name: (value, usual[name])
            for name, value in log.settings.items()
            if name in usual and value != usual[name] and not _OWN.search(name) and not _MEASURED.fullmatch(value)
        }
        if other:
            told = "; ".join(
                f"{name} {mine!r}, elsewhere {rest!r}" for name, (mine, rest) in list(other.items())[:MOST_TOLD]
            )
            yield review(f"ran with other settings than the other seeds: {told}", file=log.file)


def _usual(logs: Sequence[LogFacts]) -> Mapping[str, str]:
    """The value of each setting that most logs print, the first of them where none is ahead."""
    values: dict[str, list[str]] = defaultdict(list)
    for log in logs:
        for name, value in log.settings.items():
            values[name].append(value)
    return {name: max(found, key=found.count) for name, found in values.items() if len(found) == len(logs)}


def _programs(logs: Sequence[LogFacts]) -> Iterator[Finding]:
    for fact, what in (("dump_sha256", "program printed"), ("code_sha256", "hash of the program")):
        known = {getattr(log, fact) for log in logs} - {None}
        if len(known) > 1:
            yield review(f"the {what} differs between the logs of the seeds", **at(logs[-1], "dump"))
    sizes = sorted({log.bytes_code_uncompressed for log in logs if log.bytes_code_uncompressed is not None})
    if len(sizes) > 1:
        told = ", ".join(f"{size:,}" for size in sizes)
        yield review(f"the logs of the seeds say {told} bytes of code: not one program", **at(logs[-1], "bytes_code"))


RULE = Rule(
    id="one-configuration",
    why="A mean over seeds of different configurations belongs to none of them, and picking them is selection.",
    source="#2124 was rejected for a third seed from another configuration (maintainer)",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Run every seed with one program and one set of settings, and let the log print both.",
    cases=(86, 2124),
)
