"""Nothing is unpickled that could run code when it is loaded."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review, unverifiable
from fairway.verify.programs.verdicts import running, running_effects
from fairway.verify.submission import Submission

_MOST_NAMED = 4


def _check(submission: Submission) -> Iterator[Finding]:
    if not running(submission):
        yield unverifiable("there is no program that could be read")
        return
    found = [(program, effect) for program, effect in running_effects(submission) if effect.kind == "pickle"]
    for program, effect in found[:_MOST_NAMED]:
        yield review(
            f"{effect.what}: what it loads may run code; see where the file comes from",
            profile="strict",
            file=program.where,
            line=effect.line,
        )
    if not found:
        yield passed("loads no pickles")


RULE = Rule(
    id="safe-loading",
    why="A pickle is a program: a score that rests on one rests on code that nobody counted or read.",
    source="PyTorch documentation of torch.load, weights_only; openai/parameter-golf README on counted code",
    scope="submission",
    check=_check,
    category="integrity",
    fix="Load with weights_only=True, or store plain bytes.",
)
