"""The commands that the program starts are part of the image, or the README says how to get them."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review, unverifiable
from fairway.verify.programs.imports import packages
from fairway.verify.programs.verdicts import running, running_effects
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    if not running(submission):
        yield unverifiable("there is no program that could be read")
        return
    told = f"{submission.readme or ''}\n{submission.requirements or ''}".lower()
    seen: set[str] = set()
    missing = False
    for program, effect in running_effects(submission):
        if effect.kind != "command" or effect.what in seen | packages().commands:
            continue
        seen.add(effect.what)
        if effect.what.lower() not in told:
            missing = True
            yield review(
                f"starts {effect.what}, which the image need not have and the README does not mention",
                profile="strict",
                file=program.where,
                line=effect.line,
            )
    if not missing:
        names = ", ".join(sorted(seen)) or "none"
        yield passed(f"commands beyond those of the image: {names}; each is mentioned in README or requirements.txt")


RULE = Rule(
    id="commands-declared",
    why="A compressor or compiler that is not installed ends the run, or silently changes the size of the artifact.",
    source="openai/parameter-golf README: set-up notes for what the image lacks; rules part 5, item 3",
    scope="submission",
    check=_check,
    category="does_not_run",
    fix="Name each external command in the README, with the line that installs it.",
)
