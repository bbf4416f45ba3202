"""What learns from validation tokens learns from them only after they were scored."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, review
from fairway.verify.submission import Submission
from fairway.verify.trace.ask import ask
from fairway.verify.trace.conduct import Course, learnings, packed, reaches, scores, survives, text_of


def _check(submission: Submission) -> Iterator[Finding]:
    fine = (
        "every gradient step on validation tokens comes after their score in the same turn of a loop over chunks, "
        "or there is none"
    )
    yield from ask(submission, _question, fine)


def _question(course: Course) -> Iterator[Finding]:
    trace = course.trace
    seen: set[int] = set()
    for learning in learnings(trace):
        event = learning.event
        if learning.scored is not None or learning.leaf or event.line in seen:
            continue
        seen.add(event.line)
        if not survives(trace, learning):
            yield review(
                "a step on validation tokens before any is scored, of weights that are thrown away after it (a "
                "warm-up, for which random tokens would do): look whether anything of it stays",
                profile="strict",
                file=event.file,
                line=event.line,
            )
            continue
        kept = packed(trace, learning)
        later = [s for s in scores(trace) if s.at > event.at and (kept or reaches(trace, event, learning.own, s))]
        if not later:
            continue
        turns = f", in {text_of(learning.epochs)!r}" if learning.epochs else ""
        yield review(
            f"a gradient step on validation tokens{turns} that were not scored in the same turn before; they are "
            f"scored after it (line {later[0].line}): look whether that score is made with what learned here",
            file=event.file,
            line=event.line,
        )


RULE = Rule(
    id="adapt-then-score",
    why="A score that is taken after learning from its own targets measures memory.",
    source="README, FAQ (test-time training only on tokens already evaluated); ruling in #402 and #677; condition C3",
    scope="submission",
    check=_check,
    category="adapt_then_score",
    fix="Add up the loss of a chunk before the step that learns from it, and score each chunk once.",
    cases=(406, 415, 462, 517, 518, 555),
)
