"""The bytes that a score was divided by are those of the validation text."""

import math
from collections.abc import Iterator

from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.logs.asked import AGREE, claimed_line, claimed_scores, evaluated
from fairway.verify.logs.denominator import Denominator, compared, judged
from fairway.verify.logs.facts import LogFacts
from fairway.verify.logs.verdicts import usual_tokens
from fairway.verify.submission import Submission
from fairway.verify.tracks import ValidationSet

DENSITY_TOLERANCE = 1.5e-3
"""Relative; claims are rounded to three or four decimals."""
OWN_EXPORT = 0.01
"""By so much the bytes of an export of one's own may be off, for reasons that no log shows."""
PARTIAL = "partial_validation"


def _check(submission: Submission) -> Iterator[Finding]:
    validation = submission.track.validation
    if validation is None:
        raise NoEvidence("the track has no fixed validation set")
    found = [
        finding
        for log in (evaluated(submission) if submission.seed_logs else ())
        for finding in _log(submission, validation, log)
    ]
    found = found or [*_claim(submission, validation)]
    if not found:
        raise NoEvidence("no log gives loss, score and number of validation tokens together")
    yield from found


def _log(submission: Submission, validation: ValidationSet, log: LogFacts) -> Iterator[Finding]:
    score = claimed_line(submission, log)
    if score is not None and (told := judged(validation, log, score)) is not None:
        base = f"{score.label} {score.val_bpb} with loss {score.val_loss} over {log.val_tokens:,} tokens"
        known = log.val_tokens is not None and usual_tokens(validation, log.val_tokens)
        sure = log.partial is None and (known or abs(told.ratio - 1.0) > OWN_EXPORT)
        yield _said(told, f"{base} divides by {told.bytes:,} bytes", log.file, score.line, sure=sure)
    claims = claimed_scores(submission)
    last = {count.label: count for count in log.byte_counts}
    for count in last.values():
        told = compared(validation, count.bytes, count.tokens, validation.tolerance)
        claimed = any(abs(bpb - shown) <= AGREE for bpb in claims for shown in count.bpb)
        if told.outcome not in ("whole", "former"):
            message = f"{count.label} counts {count.bytes:,} bytes"
            yield _said(told, message, log.file, count.line, sure=claimed)


def _claim(submission: Submission, validation: ValidationSet) -> Iterator[Finding]:
    """Without a log, loss and score of the claim still tell bytes per token, which depend on the tokenizer alone."""
    claim = submission.claim
    if claim is None:
        return
    known = {validation.bytes / targets for targets in validation.targets}
    pairs = [(claim.val_loss, claim.val_bpb), *((s.val_loss, s.val_bpb) for s in (claim.per_seed or {}).values())]
    for loss, bpb in pairs:
        if loss is None or bpb is None or loss <= 0.0 or bpb <= 0.0:
            continue
        density = loss / (math.log(2.0) * bpb)
        message = f"claims loss {loss} and score {bpb}, which is {density:.4f} bytes a token"
        where = {"file": claim.file, "line": claim.line_of(submission.claim_text, "val_loss")}
        if any(abs(density / usual - 1.0) <= DENSITY_TOLERANCE for usual in known):
            yield passed(f"{message}, as a published data set has", **where)
        else:
            yield review(
                f"{message}: no published data set has so many, and no log tells how many tokens there are", **where
            )
        return


def _said(told: Denominator, message: str, file: str, line: int, *, sure: bool) -> Finding:
    message += f", {told.ratio:.4%} of the {told.expected:,} of the validation set"
    if told.outcome == "whole":
        return passed(message, file=file, line=line)
    if told.outcome == "former":
        return passed(f"{message} that the track had then", file=file, line=line)
    if told.outcome == "per_byte":
        return review(f"{message}: the loss is in nats a byte, so it does not tell how many", file=file, line=line)
    say = failed if sure else review
    if told.outcome in ("part", "less"):
        return say(f"{message}: not all of it is scored", file=file, line=line, category=PARTIAL)
    name = f", {told.signature}" if told.signature else ""
    return say(
        f"{message}: the score is too low by a factor of {told.ratio:.4f}{name}, or this is another text",
        file=file,
        line=line,
    )


RULE = Rule(
    id="byte-denominator",
    why="Bits per byte are comparable only where everybody divides by the bytes of the same text.",
    source="openai/parameter-golf README: tokenizer-agnostic bits per byte over the fixed validation set; #1143, #1545",
    scope="submission",
    check=_check,
    category="byte_accounting",
    fix="Count the UTF-8 bytes of the original validation text, each once; their sum depends on no tokenizer.",
    cases=(755, 1143, 1184, 1289, 1545, 1687, 2138),
)
