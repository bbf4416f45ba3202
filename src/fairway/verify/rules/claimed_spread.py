"""The claimed standard deviation is that of the seeds."""

from collections.abc import Iterator

from fairway.verify.claims.tell import at, need, need_claim, need_logs, said
from fairway.verify.claims.verdicts import bpb_match, meant, spreads, std_match
from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission

_SLIGHT = 0.02
"""Relative; so much may come of scores that were rounded first."""


def _check(submission: Submission) -> Iterator[Finding]:
    if need_claim(submission).val_bpb_std is None:
        yield passed("no standard deviation is claimed", file=submission.submission_file)
        return
    need_logs(submission)
    right = std_match(submission)
    scores = meant(submission).bpb
    if right is None:
        raise NoEvidence(f"{len(scores)} scored logs show no spread", file=submission.submission_file)
    sample, population = spreads(scores)
    message = f"{said(submission, 'val_bpb_std')}; {len(scores)} logs: {sample:.6f} with n - 1, {population:.6f} with n"
    claimed = float(need(submission, "val_bpb_std"))
    slight = any(abs(claimed - spread) <= _SLIGHT * spread for spread in (sample, population))
    # Spread of other numbers than the logs' final ones; the rule about the score says which.
    others = bpb_match(submission) is False or any(not score.final for score in meant(submission).scores)
    yield (passed if right else review if slight or others else failed)(message, **at(submission, "val_bpb_std"))


RULE = Rule(
    id="claimed-spread",
    why="The p-value hangs on the spread of the seeds.",
    source="openai/parameter-golf README: enough runs to show the gain at p < 0.01",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Recompute the standard deviation from the logs, with n - 1 below the line.",
)
