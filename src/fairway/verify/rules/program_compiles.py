"""The program compiles, as it lies there and as it is once unpacked, on the Python versions that people run."""

from collections.abc import Iterator, Mapping

from fairway.verify.finding import Finding, Rule, failed, passed, review, unverifiable
from fairway.verify.programs.program import Program
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    programs = submission.programs
    if programs.main is None:
        yield unverifiable("the folder holds no Python program")
        return
    for program in (programs.main, *programs.helpers):
        runs = program is programs.main or program.file in programs.reached
        yield from _of(program, runs)


def _of(program: Program, runs: bool) -> Iterator[Finding]:
    if runs and program.shipped.strip() == b"" and not program.hidden:
        if not program.file.endswith("__init__.py"):
            yield failed("is empty: there is nothing to run", file=program.file)
        return
    told = False
    for syntax, what, file in (
        (program.outer_syntax, "", program.file),
        (program.syntax, " (of what it unpacks to)" if program.layers else "", program.where),
    ):
        finding = _versions(syntax, what, file, runs)
        if finding is not None and not told:
            told = True
            yield finding
    if not told and program.syntax:
        yield passed(f"compiles on Python {', '.join(program.syntax)}", file=program.file)
    elif not told:
        yield unverifiable(f"cannot be compiled here: {program.hidden}", file=program.file)


def _versions(syntax: Mapping[str, tuple[str, int | None] | None], what: str, file: str, runs: bool) -> Finding | None:
    errors = {version: error for version, error in syntax.items() if error is not None}
    if not errors:
        return None
    message, line = next(iter(errors.values()))
    place = {"file": file, "line": line}
    where = f"line {line}{what}: " if line else ""
    if len(errors) == len(syntax):
        text = f"{where}{message}; no Python from {min(syntax, key=_order)} to {max(syntax, key=_order)} compiles it"
        return failed(text, **place) if runs else review(f"{text}; nothing that runs reaches it", **place)
    good = ", ".join(version for version in syntax if version not in errors)
    text = f"{where}{message} on Python {', '.join(errors)}; it compiles on {good} only: name the Python that ran it"
    return review(text, profile="strict", **place)


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


RULE = Rule(
    id="program-compiles",
    why="A script that does not compile proves nothing; one that needs the newest Python fails elsewhere.",
    source="openai/parameter-golf README, submission process: scripts must compile and run; rules 1.5 and part 3 H",
    scope="submission",
    check=_check,
    category="does_not_run",
    fix="Compile the file, and what it unpacks to, with the Python of the image; avoid f-strings that need 3.12.",
    cases=(514, 1437, 1532),
)
