"""The claimed loss is in the logs, and belongs to the claimed score."""

from collections.abc import Iterator

from fairway.verify.claims.compare import Number, agrees
from fairway.verify.claims.headline import SCORE_DIGIT, Headline
from fairway.verify.claims.quoted import written
from fairway.verify.claims.tell import at, few, need, need_claim, need_logs, number, said
from fairway.verify.claims.verdicts import loss_match, meant, per_seed_loss, ratio_consistent
from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission

_SLIGHT = 5e-4
"""Nats, and relative of the ratio: what rounding, or another log of the same run, may make."""


def _check(submission: Submission) -> Iterator[Finding]:
    if need_claim(submission).val_loss is None:
        yield passed("no loss is claimed", file=submission.submission_file)
        return
    claimed = need(submission, "val_loss")
    need_logs(submission)
    scores = meant(submission)
    right, consistent, seeds = loss_match(submission), ratio_consistent(submission), per_seed_loss(submission)
    if right is None:
        raise NoEvidence("no log gives a loss", file=submission.submission_file)
    place = at(submission, "val_loss")
    for difference in seeds or ():
        message = f"{difference.what} = {number(difference.claimed)}, {difference.log} says {few(difference.shown)}"
        there = written(submission.tree, submission.logs, difference.claimed, word="val_loss", digit=SCORE_DIGIT)
        if there is None:
            yield failed(message, **place)
        else:
            yield review(f"{message}; it stands there as {there.text!r}", file=there.file, line=there.line)
    if not right:
        yield from _wrong(submission, claimed, scores)
    elif consistent is False:
        bpb, scale = float(need(submission, "val_bpb")), scores.nats_per_bit or 0.0
        message = f"val_loss / val_bpb is {claimed / bpb:.5f}, in the logs {scale:.5f}: one is of another evaluation"
        yield (review if abs(claimed / bpb / scale - 1.0) <= _SLIGHT else failed)(message, **place)
    if right and consistent is not False and not seeds:
        yield passed(f"{said(submission, 'val_loss')} is what the logs say", **place)


def _wrong(submission: Submission, claimed: Number, scores: Headline) -> Iterator[Finding]:
    place = at(submission, "val_loss")
    if any(agrees(claimed, score, most=SCORE_DIGIT) for score in (*scores.bpb, scores.mean_bpb or 0.0)):
        message = f"{said(submission, 'val_loss')} is the score in bits per byte, under the name of the loss"
        yield failed(message, profile="strict", **place)
        yield review(message, profile="precedent", **place)
        return
    message = f"{said(submission, 'val_loss')} is in no log and not their mean: {few(scores.loss)}"
    bpb, scale = need_claim(submission).val_bpb, scores.nats_per_bit
    if bpb and scale and ratio_consistent(submission) is False:
        message += f"; val_loss / val_bpb is {claimed / bpb:.5f}, in the logs {scale:.5f}"
    place_there = written(submission.tree, submission.logs, claimed, word="val_loss", digit=SCORE_DIGIT)
    if place_there is not None:
        message += f"; it stands there as {place_there.text!r}: look which evaluation counts"
        yield review(message, file=place_there.file, line=place_there.line)
        return
    shown = (*scores.loss, scores.mean_loss or 0.0)
    near = any(abs(claimed - loss) <= _SLIGHT or agrees(claimed, loss, units=0.5) for loss in shown)
    yield (review if near else failed)(message, **place)


RULE = Rule(
    id="claimed-loss",
    why="Loss and score are tied by tokens per byte; a pair that the logs do not hold is of another run or tokenizer.",
    source="rules as applied: bpb = loss / ln 2 * tokens / bytes",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Take val_loss from the same log lines as val_bpb.",
)
