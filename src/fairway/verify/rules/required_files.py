"""README.md, submission.json, train_gpt.py and a training log are there, under these names."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import README, Submission

_SUBMISSION = "submission.json"
_CODE = "train_gpt.py"


def _check(submission: Submission) -> Iterator[Finding]:
    if not submission.tree.entries:
        yield failed("the folder is empty")
        return
    main = submission.programs.main
    logs = [log.file for log in submission.logs]
    findings = [
        *_there(submission, README, submission.readme_file, "a README"),
        *_there(submission, _SUBMISSION, submission.submission_file, "a submission.json"),
        *_there(submission, _CODE, None if main is None else main.file, "a program"),
    ]
    if not logs:
        findings.append(failed("there is no training log: nothing shows that the program reached any score"))
    elif not submission.seed_logs:
        findings.append(review(f"none of {len(logs)} logs is that of a run which the claim rests on", file=logs[0]))
    for path, entry in submission.tree.files.items():
        if path in {README, _SUBMISSION, _CODE, *logs} and entry.size_bytes == 0:
            findings.append(failed("is empty", file=path))
    yield from findings
    if not findings:
        yield passed(f"{README}, {_SUBMISSION}, {_CODE} and {len(logs)} logs are there")


def _there(submission: Submission, name: str, instead: str | None, what: str) -> Iterator[Finding]:
    if name in submission.tree.files:
        return
    if instead is None:
        yield failed(f"{name} is missing, and nothing else in the folder is {what}")
        return
    yield failed(f"{name} is missing; {instead} is taken for it", file=instead, profile="strict")
    yield review(f"{name} is missing; {instead} is taken for it", file=instead, profile="precedent")


RULE = Rule(
    id="required-files",
    why="A score without its program, its log, its numbers or its explanation cannot be reviewed or run again.",
    source="openai/parameter-golf README, Submission Process: README.md, submission.json, train log, train_gpt.py",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Put README.md, submission.json, train_gpt.py and one log a seed, written by that program, into the folder.",
    cases=(505, 2013),
)
