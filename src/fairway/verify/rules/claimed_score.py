"""The claimed score is the mean of what the logs say, seed by seed and all together."""

from collections.abc import Iterator

from fairway.verify.claims.compare import Number, agrees
from fairway.verify.claims.headline import SCORE_DIGIT, Headline
from fairway.verify.claims.quoted import Place, written
from fairway.verify.claims.tell import at, few, need, need_logs, number, said
from fairway.verify.claims.verdicts import Difference, bpb_match, mean_of_seeds, meant, per_seed_bpb
from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission

_SLIGHT = 5e-5
"""Bits per byte; what rounding twice may make is for a person to weigh."""

_LOOK = "look which evaluation counts"


def _check(submission: Submission) -> Iterator[Finding]:
    claimed = float(need(submission, "val_bpb"))
    need_logs(submission)
    scores = meant(submission)
    if not scores.scores:
        raise NoEvidence("no log gives a score", file=submission.submission_file)
    found = [*_seeds(submission), *_headline(submission, claimed, scores), *_not_final(scores)]
    yield from found
    if not found:
        yield passed(
            f"{said(submission, 'val_bpb')} is the mean of {len(scores.scores)} logs", **at(submission, "val_bpb")
        )


def _seeds(submission: Submission) -> Iterator[Finding]:
    for difference in per_seed_bpb(submission) or ():
        yield _of_seed(submission, difference)


def _of_seed(submission: Submission, difference: Difference) -> Finding:
    shown = few(f"{score:.8f}" for score in difference.shown)
    message = f"{difference.what} = {number(difference.claimed)}, " + (
        f"{difference.log} says {shown}" if shown else "no log of a run with that seed gives a score"
    )
    place = _written(submission, difference.claimed)
    if place is not None:
        return review(f"{message}; it stands there as {place.text!r}: {_LOOK}", file=place.file, line=place.line)
    slight = any(abs(difference.claimed - score) <= _SLIGHT for score in difference.shown)
    return (review if slight else failed)(message, **at(submission, difference.what.split()[1]))


def _headline(submission: Submission, claimed: float, scores: Headline) -> Iterator[Finding]:
    place = at(submission, "val_bpb")
    mean, best = scores.mean_bpb or 0.0, min(scores.bpb)
    if not bpb_match(submission):
        yield _absent(submission, claimed, scores)
    elif len(scores.scores) > 1 and not agrees(claimed, mean, most=SCORE_DIGIT):
        which = "the best" if agrees(claimed, best, most=SCORE_DIGIT) else "one"
        message = f"{said(submission, 'val_bpb')} is {which} of {len(scores.scores)} runs; their mean is {mean:.8f}"
        yield failed(message, profile="strict", **place)
        yield review(message, profile="precedent", **place)


def _absent(submission: Submission, claimed: float, scores: Headline) -> Finding:
    mean = scores.mean_bpb or 0.0
    listed = few(f"{score.file} {score.val_bpb:.8f}" for score in scores.scores)
    way = "below" if claimed < mean else "above"
    message = (
        f"{said(submission, 'val_bpb')} is the score of no log and not their mean, {mean:.8f}:"
        f" {abs(claimed - mean):.5f} {way} it ({listed})"
    )
    place = _written(submission, claimed)
    if place is not None:
        return review(f"{message}; it stands there as {place.text!r}: {_LOOK}", file=place.file, line=place.line)
    wrong = per_seed_bpb(submission) or ()
    if mean_of_seeds(submission) and wrong and all(_written(submission, each.claimed) is not None for each in wrong):
        return review(f"{message}; it is the mean of lines that the logs do hold: {_LOOK}", **at(submission, "val_bpb"))
    say = review if abs(claimed - mean) <= _SLIGHT else failed
    return say(message, **at(submission, "val_bpb"))


def _written(submission: Submission, score: Number) -> Place | None:
    return written(submission.tree, submission.logs, score, word="bpb", digit=SCORE_DIGIT)


def _not_final(scores: Headline) -> Iterator[Finding]:
    for score in scores.scores:
        if not score.final:
            message = f"claims {score.label} {score.val_bpb:.8f}, which is not the score that the log ends with"
            yield review(message, file=score.file, line=score.line)


RULE = Rule(
    id="claimed-score",
    why="The headline is what a record is ranked by; a best seed, or a number of no log, is not what the program does.",
    source="openai/parameter-golf README: logs over several runs; #2124: mean over seeds of one configuration; #86",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Recompute val_bpb as the mean of the final score of every seed's log, and ship the logs of those very runs.",
    cases=(86, 2118, 2124),
)
