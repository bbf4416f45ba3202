"""Each token is scored once, and its score is no choice among several."""

import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, review
from fairway.verify.submission import Submission
from fairway.verify.trace.ask import ask
from fairway.verify.trace.conduct import Course, inside, learnings, reaches, repeats, scores, survives, text_of
from fairway.verify.trace.events import Event, common_loop, exclusive

_WORDS = re.compile(r"\btwo[\s-]pass\b|\bre-?scor(e|es|ed|ing)\b|\bsecond pass\b|\bpass 2\b", re.IGNORECASE)


def _check(submission: Submission) -> Iterator[Finding]:
    fine = "tokens are scored in one pass with what earlier tokens left, and no smaller of two losses is taken"
    yield from ask(submission, _question, fine, _WORDS)


def _question(course: Course) -> Iterator[Finding]:
    trace = course.trace
    told: set[int] = set()
    for score in scores(trace):
        finding = _chosen(score) or _again(course, score)
        place = score.picked or score.line
        if finding is not None and place not in told:
            told.add(place)
            yield finding


def _chosen(score: Event) -> Finding | None:
    if score.picked is None:
        return None
    return review(
        f"the loss that is added up was taken as the smaller of two (line {score.picked}): look whether the choice is "
        "made by the loss of the target itself",
        file=score.file,
        line=score.line,
    )


def _again(course: Course, score: Event) -> Finding | None:
    trace = course.trace
    for learning in learnings(trace):
        event = learning.event
        loop = repeats(score)
        if loop is not None and inside(loop, score, event) and score.own & learning.own:
            return review(
                f"the loss of the same tokens is added up in every turn of {text_of(loop)!r} while line {event.line} "
                "learns from them: look which turn counts",
                file=score.file,
                line=score.line,
            )
        if learning.scored is None or not survives(trace, learning):
            continue
        if common_loop(score, event) is None and reaches(trace, event, learning.own, score):
            return review(
                f"validation is scored again with weights that learnt from it in line {event.line}, after it was "
                f"scored in line {learning.scored.line}: look which of the two passes is reported",
                file=score.file,
                line=score.line,
            )
    for build in trace.of("build"):
        if (
            score.at > build.at
            and not exclusive(build, score)
            and common_loop(score, build) is None
            and build.own & score.own
        ):
            return review(
                f"the score is made with a table that line {build.line} filled from validation tokens in a pass of its "
                "own: look whether the table holds the targets that are scored, or later ones",
                file=score.file,
                line=score.line,
            )
    return None


RULE = Rule(
    id="rescore-two-pass",
    why="A second score of a token, or the better of two, is taken with its target known.",
    source="README, FAQ (test-time training only on tokens already evaluated); #573, #659 and #846; condition C4",
    scope="submission",
    check=_check,
    category="rescore_two_pass",
    fix="Report the first score of each token; mix two predictions by a rule that does not see the target.",
    cases=(573, 576, 659, 846, 907, 933, 991),
)
