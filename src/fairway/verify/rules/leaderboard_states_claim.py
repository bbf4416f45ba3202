"""What the leaderboard of the track says of the folder is what the folder claims."""

from collections.abc import Iterator

from fairway.verify.claims.tell import at, need, number, said
from fairway.verify.claims.verdicts import leaderboard_matches
from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    chain = submission.leaderboard
    row = None if chain is None else chain.find(submission.track.name, submission.name)
    if chain is None or row is None or not row.ranked:
        yield passed("the folder does not stand on the leaderboard that is known here, so there is nothing to compare")
        return
    need(submission, "val_bpb")
    message = f"{said(submission, 'val_bpb')}, the leaderboard says {number(row.val_bpb)} ({chain.file}:{row.line})"
    yield (passed if leaderboard_matches(submission) else review)(message, **at(submission, "val_bpb"))


RULE = Rule(
    id="leaderboard-states-claim",
    why="The next record is held against the number on the leaderboard.",
    source="openai/parameter-golf README, leaderboard",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Correct submission.json, or ask for the leaderboard to be corrected.",
    cases=(77, 1851),
)
