"""The program opens no connection: neither training nor scoring may fetch or send anything."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review, unverifiable
from fairway.verify.programs.verdicts import running, running_effects
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    if not running(submission):
        yield unverifiable("there is no program that could be read")
        return
    seen: set[tuple[str, str]] = set()
    for program, effect in running_effects(submission):
        key = (program.where, effect.what)
        if effect.kind == "network" and key not in seen:
            seen.add(key)
            yield review(
                f"{effect.what} can reach the network; look whether it runs in training or scoring, and what it brings",
                file=program.where,
                line=effect.line,
            )
    if not seen:
        yield passed("nothing that it imports or calls is known to reach the network")


RULE = Rule(
    id="no-network",
    why="What is fetched at run time is part of the artifact, but not of its size, and may be gone tomorrow.",
    source="openai/parameter-golf README: no external downloads, no network at evaluation; rules 1.4",
    scope="submission",
    check=_check,
    category="integrity",
    fix="Fetch data before the run by a script of its own; read only local files.",
)
