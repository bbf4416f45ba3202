"""Every entry of the folder is a plain file that can be read."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission

_MOST_NAMED = 10


def _check(submission: Submission) -> Iterator[Finding]:
    odd = [entry for entry in submission.tree.entries if entry.kind != "file"]
    for entry in odd[:_MOST_NAMED]:
        if entry.kind == "link" and not _leads_out(entry.path, entry.detail):
            yield review(f"is a link to {entry.detail!r}; it was not followed", file=entry.path)
        elif entry.kind == "link":
            yield failed(f"is a link to {entry.detail!r}, outside the folder; it was not followed", file=entry.path)
        elif entry.kind == "unreadable":
            yield failed(f"cannot be read: {entry.detail}", file=entry.path)
        else:
            yield failed(f"is no plain file: {entry.detail}", file=entry.path)
    if len(odd) > _MOST_NAMED:
        yield failed(f"{len(odd) - _MOST_NAMED} further entries are no plain files")
    for message, file, line in submission.problems:
        yield review(message, file=file, line=line)
    if not odd and not submission.problems:
        yield passed(f"{len(submission.tree.entries)} plain files")


def _leads_out(path: str, target: str) -> bool:
    if target.startswith(("/", "~")) or "\\" in target:
        return True
    depth = len(PurePosixPath(path).parts) - 1
    for part in PurePosixPath(target).parts:
        depth += -1 if part == ".." else 1
        if depth < 0:
            return True
    return False


RULE = Rule(
    id="plain-files",
    why="A link or a device shows one thing to the author and another, or nothing, to whoever checks the folder out.",
    source="openai/parameter-golf README: the code must run within the records folder, hence nothing leads out of it",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Replace each link by the file that it leads to, and make every file readable text where it can be.",
)
