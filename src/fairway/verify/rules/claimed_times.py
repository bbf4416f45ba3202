"""Claimed seconds, steps and milliseconds a step are in the logs."""

from collections.abc import Iterator

from fairway.verify.claims.tell import at, few, need_claim, need_logs, number
from fairway.verify.claims.verdicts import times
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission

_SLIGHT = 0.05
"""Relative; a difference that changes no verdict is for a person to weigh."""


def _check(submission: Submission) -> Iterator[Finding]:
    claim = need_claim(submission)
    need_logs(submission)
    found = times(submission)
    if found is None:
        yield passed("no time or number of steps is claimed that a log states too", file=claim.file)
        return
    for difference in found:
        shown = few(number(each) for each in difference.shown)
        message = f"{difference.what}: claimed {number(difference.claimed)}, {difference.log or 'the logs'}: {shown}"
        off = min(abs(float(difference.claimed) - each) / max(each, 1e-9) for each in difference.shown)
        if off > _SLIGHT:
            yield failed(message, **at(submission, difference.key))
            continue
        yield failed(message, profile="strict", **at(submission, difference.key))
        yield review(message, profile="precedent", **at(submission, difference.key))
    if not found:
        yield passed("every claimed time and number of steps is in a log", file=claim.file)


RULE = Rule(
    id="claimed-times",
    why="Ten minutes are the other half of the challenge; times of another run say nothing of this one.",
    source="openai/parameter-golf README: under 10 minutes on 8xH100, shown by the logs",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Take train time, evaluation time and steps from the logs that are shipped.",
    cases=(86,),
)
