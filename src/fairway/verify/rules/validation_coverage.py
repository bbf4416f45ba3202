"""The score is over all of the validation set: its tokens, its documents, no subset."""

from collections.abc import Iterator

from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.logs.asked import at, claimed_line, evaluated
from fairway.verify.logs.denominator import judged
from fairway.verify.logs.facts import LogFacts
from fairway.verify.logs.verdicts import usual_tokens
from fairway.verify.submission import Submission
from fairway.verify.tracks import ValidationSet

SMALL = 0.9
"""Of the smallest usual count: a tokenizer with fewer tokens for the same text would be better than any known."""


def _check(submission: Submission) -> Iterator[Finding]:
    validation = submission.track.validation
    if validation is None:
        raise NoEvidence("the track has no fixed validation set")
    found = [finding for log in evaluated(submission) for finding in _log(submission, validation, log)]
    if not found:
        raise NoEvidence("no log tells how many validation tokens it scored")
    yield from found


def _log(submission: Submission, validation: ValidationSet, log: LogFacts) -> Iterator[Finding]:
    if log.partial is not None:
        yield review(f"the log says that part of the set was scored: {log.partial!r}", **at(log, "partial"))
    if log.documents is not None and log.documents < validation.documents:
        message = f"{log.documents:,} documents were scored, the set has {validation.documents:,}"
        whole = log.val_tokens is not None and usual_tokens(validation, log.val_tokens)
        # A rank's share, or the documents long enough to adapt to, are counted in the same words.
        yield (review if whole else failed)(message, **at(log, "documents"))
    tokens = log.val_tokens
    if tokens is None:
        return
    where = at(log, "val_tokens")
    if usual_tokens(validation, tokens):
        yield passed(f"{tokens:,} validation tokens, as many as the published data set has", **where)
    elif tokens in validation.targets:
        yield passed(f"{tokens:,} validation tokens, as in other exports of the same text", **where)
    elif any(tokens in former.targets for former in validation.former):
        yield passed(f"{tokens:,} validation tokens, as many as the set had then", **where)
    else:
        yield _unknown(submission, validation, log, tokens)


def _unknown(submission: Submission, validation: ValidationSet, log: LogFacts, tokens: int) -> Finding:
    """A count of tokens that no published data set has: loss and score tell whether the text is the same."""
    score, where = claimed_line(submission, log), at(log, "val_tokens")
    told = None if score is None else judged(validation, log, score)
    whole = told is not None and told.outcome == "whole"
    least = min(validation.usual or validation.targets)
    if tokens < SMALL * least:
        message = f"{tokens:,} validation tokens; no published tokenizer makes fewer than {least:,} of the whole set"
        if whole:
            return review(f"{message}: is the text normalised before it is cut?", category="lossy_tokenizer", **where)
        return failed(message, **where)
    if whole:
        return passed(f"{tokens:,} validation tokens of an unknown tokenizer, over all bytes of the set", **where)
    message = f"{tokens:,} validation tokens, which no published data set has"
    return review(f"{message}; the export of the validation text must be looked at", **where)


RULE = Rule(
    id="validation-coverage",
    why="A score over a part of the set, or over another set, is not the score that others reached.",
    source="openai/parameter-golf README: the fixed first 50,000 documents; #1835, #1854",
    scope="submission",
    check=_check,
    category="partial_validation",
    fix="Score every token of every validation shard once, with a tokenizer whose export holds all 50,000 documents.",
    cases=(1835, 1854),
)
