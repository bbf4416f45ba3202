"""What runs can be read: nothing is executed that cannot be had by decoding."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review, unverifiable
from fairway.verify.programs.effects import effects
from fairway.verify.programs.verdicts import running
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    programs = submission.programs
    if programs.main is None:
        yield unverifiable("the folder holds no Python program")
        return
    told = False
    for program in (programs.main, *programs.helpers):
        broken = program.syntax and all(error is not None for error in program.syntax.values())
        if program.hidden and not broken:
            told = True
            yield review(f"what it runs cannot be read: {program.hidden}", file=program.file)
    for program in running(submission):
        assert program.tree is not None
        lines = [effect.line for effect in effects(program.tree) if effect.kind == "execute"]
        if lines:
            told = True
            yield review(
                f"executes text that is made when it runs ({len(lines)} times); look at what that text can be",
                file=program.where,
                line=lines[0],
            )
    if not told:
        how = " and ".join(programs.main.layers)
        yield passed(f"was unpacked by {how}" if how else "is its own source text", file=programs.main.file)


RULE = Rule(
    id="program-readable",
    why="Code that nobody can read cannot be reviewed, and what it does cannot be reproduced from the folder.",
    source="openai/parameter-golf README: self-contained and reproducible; rules 1.5 and part 5, item 3",
    scope="submission",
    check=_check,
    category="integrity",
    fix="Pack with a decoder and one constant (lzma or brotli, base85), or ship the readable file.",
)
