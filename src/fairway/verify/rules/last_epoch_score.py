"""The score is of the first time that tokens are seen, not of the last of several epochs."""

import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, review
from fairway.verify.submission import Submission
from fairway.verify.trace.ask import ask
from fairway.verify.trace.conduct import Course, inside, learnings, only_last, repeats, scores, text_of

_WORDS = re.compile(
    r"(final|last)[\s-]+(\w+[\s-]+)?(epoch|pass)[^.]{0,40}\bscor|"
    r"\bscor\w*[^.]{0,40}\b(final|last)[\s-]+(\w+[\s-]+)?epoch",
    re.IGNORECASE,
)


def _check(submission: Submission) -> Iterator[Finding]:
    fine = "no loss is added up in the last of several turns over tokens from which something learns in each turn"
    yield from ask(submission, _question, fine, _WORDS)


def _question(course: Course) -> Iterator[Finding]:
    trace = course.trace
    learned = learnings(trace)
    told: set[int] = set()
    for score in scores(trace):
        for learning in learned:
            event = learning.event
            loop = repeats(score)
            guarded = only_last(score, event)
            again = loop is not None and inside(loop, score, event) and bool(score.own & learning.own)
            if score.line in told or not (guarded or again):
                continue
            told.add(score.line)
            how = "only in the last turn" if guarded else "in every turn"
            around = text_of(loop or learning.epochs)
            yield review(
                f"the loss is added up {how} of {around!r}, whose turns see the same tokens, while line {event.line} "
                "learns from them in each: look which turn the reported score is of",
                file=score.file,
                line=score.line,
            )


RULE = Rule(
    id="last-epoch-score",
    why="In the second epoch the model has already learnt the tokens that it is scored on.",
    source="README, FAQ (test-time training only on tokens already evaluated); #402 and #677; conditions C3 and C4",
    scope="submission",
    check=_check,
    category="last_epoch_score",
    fix="Report the loss of the first time that each token is scored, before anything learnt from it.",
    cases=(512, 568, 762),
)
