"""The weights that are packed have not been trained on validation tokens before."""

import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, review
from fairway.verify.submission import Submission
from fairway.verify.trace.ask import ask
from fairway.verify.trace.conduct import Course, learnings, packed, reaches, scores, survives, text_of

_WORDS = re.compile(
    r"pre-?\s?quant(ization|ized|isation)?[\s_-]+(\w+[\s_-]+)?ttt|ttt[\s_-]+before[\s_-]+quant", re.IGNORECASE
)


def _check(submission: Submission) -> Iterator[Finding]:
    fine = "no weights learn from validation tokens before they are packed, nor in passes over them before the score"
    yield from ask(submission, _question, fine, _WORDS)


def _question(course: Course) -> Iterator[Finding]:
    trace = course.trace
    seen: set[int] = set()
    for learning in learnings(trace):
        event = learning.event
        if event.line in seen or learning.scored is not None or learning.leaf or not survives(trace, learning):
            continue
        file = packed(trace, learning)
        later = next(
            (s for s in scores(trace) if s.at > event.at and (file or reaches(trace, event, learning.own, s))), None
        )
        if file is None and (learning.epochs is None or later is None):
            continue
        when = (
            f"and are written to a file after that (line {file.line})" if file else "before the pass that is reported"
        )
        turns = (
            f", again and again in {text_of(learning.epochs)!r} (line {learning.epochs.line})"
            if learning.epochs
            else ""
        )
        scored = f"; the score is added up in line {later.line}" if later else ""
        yield review(
            f"weights take gradient steps on validation tokens that were not scored before{turns}, {when}{scored}: "
            "look whether the reported score is of weights that had seen its targets",
            file=event.file,
            line=event.line,
        )


RULE = Rule(
    id="pre-quant-ttt",
    why="Weights that were trained on the validation tokens know the targets that they are then scored on.",
    source="README, FAQ (test-time training only on tokens already evaluated); ruling on #1376; conditions C3 and C8",
    scope="submission",
    check=_check,
    category="pre_quant_ttt",
    fix="Score each chunk first and learn from it afterwards, or learn from training tokens within the training time.",
    cases=(672, 771, 1376, 1488, 1489, 1517, 1735, 1738, 1972),
)
