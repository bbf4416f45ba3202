"""No tensor is fitted to the targets of the window that is then scored with it."""

import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, review
from fairway.verify.submission import Submission
from fairway.verify.trace.ask import ask
from fairway.verify.trace.conduct import Course, learnings, scores

_WORDS = re.compile(r"\bSLOT\b")


def _check(submission: Submission) -> Iterator[Finding]:
    fine = "no tensor is made for a window of validation tokens, fitted to it and used to score it"
    yield from ask(submission, _question, fine, _WORDS)


def _question(course: Course) -> Iterator[Finding]:
    trace = course.trace
    for learning in learnings(trace):
        event = learning.event
        if learning.scored is not None or not learning.leaf:
            continue
        after = [s for s in scores(trace) if s.at > event.at and s.own & learning.own]
        if after:
            yield review(
                "a tensor is fitted by gradient steps to the loss of a window, and the window is then scored with it "
                f"(line {after[0].line}): look whether the loss reads the targets that are scored; a mask that leaves "
                "only targets scored before is an open question (#1336)",
                file=event.file,
                line=event.line,
            )


RULE = Rule(
    id="slot",
    why="A shift of hidden states or logits that is fitted to the window's own targets carries them into the score.",
    source="condition C1; the self-report of #1240; open question #1336 for fits on earlier targets alone",
    scope="submission",
    check=_check,
    category="slot",
    fix="Fit to targets that were scored in earlier windows alone, or leave it out.",
    cases=(1229, 1240, 1319, 1329),
)
