"""What the folder weighs: everything in it together, and the largest file."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission
from fairway.verify.tree import MOST_ENTRIES

_REFUSED_BYTES = 100 * 1024 * 1024
_WARNED_BYTES = 50 * 1024 * 1024


def _check(submission: Submission) -> Iterator[Finding]:
    files = submission.tree.files.values()
    total = sum(entry.size_bytes for entry in files)
    large = [entry for entry in files if entry.size_bytes > _WARNED_BYTES]
    for entry in large:
        if entry.size_bytes > _REFUSED_BYTES:
            limit = f"{_REFUSED_BYTES:,} are the most that GitHub takes in one file"
            yield failed(f"has {entry.size_bytes:,} bytes; {limit}", file=entry.path)
        else:
            yield review(f"has {entry.size_bytes:,} bytes; does a reviewer need it?", file=entry.path)
    if len(submission.tree.entries) >= MOST_ENTRIES:
        yield review(f"holds {MOST_ENTRIES:,} files or more, of which the first {MOST_ENTRIES:,} were looked at")
    if not large:
        biggest = max(files, key=lambda entry: entry.size_bytes, default=None)
        most = "" if biggest is None else f", the largest {biggest.path} with {biggest.size_bytes:,}"
        yield passed(f"{len(files)} files, {total:,} bytes together{most}")


RULE = Rule(
    id="folder-size",
    why="A folder that cannot be pushed or cloned cannot be reviewed.",
    source="GitHub's limits: a warning above 50 MiB a file, refusal above 100 MiB",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Leave checkpoints, data and raw profiles out of the folder; shorten logs that repeat themselves.",
)
