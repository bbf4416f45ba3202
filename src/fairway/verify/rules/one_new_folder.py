"""The pull request adds exactly one folder of records and touches nothing else."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission

_MOST_NAMED = 5


def _check(submission: Submission) -> Iterator[Finding]:
    change = submission.change
    if change is None:
        yield passed("no pull request was named, so only the folder is judged")
        return
    if not change.folders:
        touched = len(change.added) + len(change.modified) + len(change.deleted)
        yield failed(f"the pull request adds no folder below records/track_<name>/; it changes {touched} other files")
        return
    if len(change.folders) > 1:
        names = ", ".join(folder.rsplit("/", 1)[-1] for folder in change.folders[:_MOST_NAMED])
        yield failed(f"the pull request adds {len(change.folders)} folders of records, must be one: {names}")
    inside = tuple(f"{folder}/" for folder in change.folders)
    beside = [
        (verb, path)
        for verb, paths in (("adds", change.added), ("modifies", change.modified), ("deletes", change.deleted))
        for path in paths
        if not path.startswith(inside)
    ]
    if beside:
        named = ", ".join(f"{verb} {path}" for verb, path in beside[:_MOST_NAMED])
        more = f" and {len(beside) - _MOST_NAMED} more" if len(beside) > _MOST_NAMED else ""
        message = f"the pull request changes {len(beside)} files beside its folder: {named}{more}"
        yield failed(message, profile="strict")
        yield review(message, profile="precedent")
    if len(change.folders) == 1 and not beside:
        yield passed(f"the pull request adds {len(change.added)} files, all of them below {change.folders[0]}")


RULE = Rule(
    id="one-new-folder",
    why="A record that changes files of others, or brings several at once, cannot be accepted or refused as one thing.",
    source="openai/parameter-golf README, Submission Process: one new folder in records, nothing else",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Start a branch from main and commit the one folder; open another pull request for anything else.",
    cases=(1143, 960, 1204),
)
