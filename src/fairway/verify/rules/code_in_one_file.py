"""All code that runs lies in the one program whose bytes are counted."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review, unverifiable
from fairway.verify.programs.verdicts import code_beside, running
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    main = submission.programs.main
    if main is None or not running(submission):
        yield unverifiable("there is no program that could be read")
        return
    others = code_beside(submission)
    for path in others[:10]:
        size = submission.tree.files[path].size_bytes
        yield review(
            f"{main.file} imports, opens or executes it: its {size} bytes are code that must be counted",
            profile="strict",
            file=path,
        )
    if not others:
        yield passed(f"{main.file} reaches no other code of the folder", file=main.file)


RULE = Rule(
    id="code-in-one-file",
    why="Bytes of code that lie in a second file are easily left out of the size, and out of the review.",
    source="openai/parameter-golf README: all counted code should live in train_gpt.py; rules 1.1",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Put the code into train_gpt.py, or count every file that it needs.",
)
