"""The program names no place of somebody's machine: paths are relative, or come from the environment."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review, unverifiable
from fairway.verify.programs.effects import Effect
from fairway.verify.programs.program import Program
from fairway.verify.programs.verdicts import running, running_effects
from fairway.verify.submission import Submission

_SCRATCH = ("/tmp", "/dev/shm", "/var/tmp")
_MOST_NAMED = 6


def _check(submission: Submission) -> Iterator[Finding]:
    if not running(submission):
        yield unverifiable("there is no program whose paths could be read")
        return
    found = [finding for program, effect in running_effects(submission) for finding in _of(program, effect)]
    yield from found[:_MOST_NAMED]
    if len(found) > _MOST_NAMED:
        yield review(f"{len(found) - _MOST_NAMED} further paths of these kinds", profile="strict")
    if not found:
        yield passed("names no absolute path, and writes nothing above the folder")


def _of(program: Program, effect: Effect) -> Iterator[Finding]:
    place = {"file": program.where, "line": effect.line}
    if effect.kind == "absolute":
        if effect.what.startswith(_SCRATCH):
            yield review(
                f"names {effect.what!r}: two runs on one machine meet there, and what an earlier one left is found",
                profile="strict",
                **place,
            )
        else:
            yield review(f"names {effect.what!r}, a place of one machine: elsewhere it is not there", **place)
    elif effect.kind == "write" and effect.what.startswith("../"):
        yield review(f"writes to {effect.what!r}, outside of the folder", **place)


RULE = Rule(
    id="paths-inside",
    why="A path of one machine breaks the program on every other, or lets a run find what another left.",
    source="openai/parameter-golf README: scripts must run within the records folder; rules 1.5",
    scope="submission",
    check=_check,
    category="does_not_run",
    fix="Take paths from the environment with a relative default, and scratch files from tempfile.",
)
