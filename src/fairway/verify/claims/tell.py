"""How findings about a claim say where it stands and what it says."""

from collections.abc import Iterable, Sequence
from typing import Any

from fairway.verify.claims.claim import Claim
from fairway.verify.claims.compare import Number
from fairway.verify.facts import NoEvidence
from fairway.verify.logs.facts import LogFacts
from fairway.verify.strict_json import Written
from fairway.verify.submission import Submission

SUBMISSION = "submission.json"
MOST_TOLD = 4


def need_claim(submission: Submission) -> Claim:
    """The claim; ``NoEvidence`` where there is none."""
    if submission.claim is None:
        raise NoEvidence(f"there is no {SUBMISSION}, so nothing is claimed")
    return submission.claim


def need(submission: Submission, key: str) -> Number:
    """A claimed number; ``NoEvidence`` where submission.json does not give it."""
    value = getattr(need_claim(submission), key)
    if value is None:
        raise NoEvidence(f"{key} is not claimed", file=submission.submission_file)
    number: Number = value
    return number


def need_logs(submission: Submission) -> Sequence[LogFacts]:
    """The logs of seeds; ``NoEvidence`` where there are none."""
    logs = list(submission.seed_logs.values())
    if not logs:
        raise NoEvidence("there is no log of a run that the claim rests on")
    return logs


def at(submission: Submission, key: str) -> dict[str, Any]:
    """File and line of a claimed field."""
    claim = submission.claim
    line = None if claim is None else claim.line_of(submission.claim_text, key)
    return {"file": submission.submission_file, "line": line}


def said(submission: Submission, key: str) -> str:
    """A claimed field as written: ``mean_val_bpb = 1.0812``."""
    claim = need_claim(submission)
    return f"{claim.spelled.get(key, key)} = {number(getattr(claim, key))}"


def number(value: float | int | None) -> str:
    """A number as it was written; sizes with separators."""
    if value is None:
        return "nothing"
    if isinstance(value, Written):
        return value.text
    return f"{value:,}" if isinstance(value, int) else f"{value:.8g}"


def few(items: Iterable[object], most: int = MOST_TOLD) -> str:
    """The first items of a list, and how many more there are."""
    told = [str(item) for item in items]
    rest = len(told) - most
    return ", ".join(told[:most]) + (f" and {rest} more" if rest > 0 else "")
