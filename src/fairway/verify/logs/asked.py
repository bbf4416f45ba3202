"""What rules over logs have in common: which logs are asked, and which line of a log is the claimed score."""

from collections.abc import Sequence
from typing import Any

from fairway.verify.facts import NoEvidence
from fairway.verify.logs.facts import LogFacts, ScoreLine
from fairway.verify.submission import Submission

AGREE = 6e-5
"""Scores closer than this are one score, written with four or more decimals."""


def seeds(submission: Submission) -> Sequence[LogFacts]:
    """The logs that the claim rests on; ``NoEvidence`` where the folder holds none."""
    found = list(submission.seed_logs.values())
    if not found:
        raise NoEvidence("the folder holds no log of a run")
    return found


def trained(submission: Submission) -> Sequence[LogFacts]:
    """The logs of training; ``NoEvidence`` where none tells how long it took."""
    found = [log for log in seeds(submission) if log.train_s is not None]
    if not found:
        raise NoEvidence("no log tells how long training took")
    return found


def evaluated(submission: Submission) -> Sequence[LogFacts]:
    """The logs of the claimed evaluations: those of evaluations alone, where a folder holds such."""
    found = seeds(submission)
    return [log for log in found if log.role == "seed_eval"] or found


def claimed_line(submission: Submission, log: LogFacts) -> ScoreLine | None:
    """The line of a log whose score is claimed, diagnostics included; the final line where there is none.

    It is claimed by its value, or as one of those of one label whose mean is claimed.
    """
    lines = (*log.diagnostics, *log.scores)
    for bpb in claimed_scores(submission):
        near = [score for score in lines if abs(score.val_bpb - bpb) <= AGREE]
        if near:
            return max(reversed(near), key=lambda score: (score.eval_s is not None, score.digits))
    label = _claimed_label(submission)
    meant = [score for score in lines if score.label == label]
    wanted = log.lines.get("final_val_bpb")
    return meant[-1] if meant else next((score for score in log.scores if score.line == wanted), None)


def _claimed_label(submission: Submission) -> str | None:
    """The label that every log has, and whose mean over the logs is the claimed score."""
    claim = submission.claim
    tables = [
        {score.label: score.val_bpb for score in (*log.diagnostics, *log.scores)} for log in evaluated(submission)
    ]
    if claim is None or claim.val_bpb is None or not tables:
        return None
    for label in tables[0]:
        if all(label in table for table in tables):
            mean = sum(table[label] for table in tables) / len(tables)
            if abs(mean - claim.val_bpb) <= AGREE:
                return label
    return None


def claimed_scores(submission: Submission) -> Sequence[float]:
    """Every score that ``submission.json`` names, seed by seed and in sum."""
    claim = submission.claim
    if claim is None:
        return ()
    each = [seed.val_bpb for seed in (claim.per_seed or {}).values()]
    return [bpb for bpb in (*each, claim.val_bpb) if bpb is not None]


def seconds_of(log: LogFacts, line: ScoreLine | None) -> float | None:
    """Seconds of the evaluation that a line tells of; of the log's final one where the line has no clock."""
    if line is None or line.eval_s is None:
        twins = [] if line is None else [s for s in (*log.diagnostics, *log.scores) if s.eval_s is not None]
        same = [s.eval_s for s in twins if line is not None and abs(s.val_bpb - line.val_bpb) <= AGREE]
        return same[-1] if same else log.eval_s
    return line.eval_s


def at(log: LogFacts, fact: str) -> dict[str, Any]:
    """Where a finding about a fact of a log points to."""
    return {"file": log.file, "line": log.lines.get(fact)}
