"""README and folder name say the score that submission.json claims."""

import re
from collections.abc import Iterator

from fairway.verify.claims.compare import agrees
from fairway.verify.claims.tell import few, need, said
from fairway.verify.claims.verdicts import readme_states, spellings
from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission

_NAMED = re.compile(r"(?<![0-9.])([0-3]\.[0-9]{4,8})(?![0-9.])")


def _check(submission: Submission) -> Iterator[Finding]:
    claimed = float(need(submission, "val_bpb"))
    yield from _folder(submission, claimed)
    right = readme_states(submission)
    if right is None:
        raise NoEvidence("there is no README that could state the score")
    if right:
        yield passed(f"the README states {said(submission, 'val_bpb')}", file=submission.readme_file)
        return
    others = dict.fromkeys(_NAMED.findall(submission.readme or ""))
    tried = f"{spellings(claimed)[0]} or more digits of it"
    message = f"the README does not state {said(submission, 'val_bpb')} ({tried}); it names {few(others) or 'no score'}"
    yield failed(message, file=submission.readme_file, profile="strict")
    yield review(message, file=submission.readme_file, profile="precedent")


def _folder(submission: Submission, claimed: float) -> Iterator[Finding]:
    """A name may carry a score; where it does, it should be the claimed one."""
    named = _NAMED.findall(submission.name)
    if named and not any(agrees(float(claimed), float(score), most=1e-4) for score in named):
        message = (
            f"the folder's name says {few(named)}, {submission.submission_file} says {said(submission, 'val_bpb')}"
        )
        yield review(message, file=submission.submission_file)


RULE = Rule(
    id="readme-states-claim",
    why="Reviewers read the README; a score of another run there is what they will remember.",
    source="openai/parameter-golf README, Submission Process: a README.md that explains the submission",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="State val_bpb in README.md as submission.json does, to four decimals at least.",
    cases=(363,),
)
