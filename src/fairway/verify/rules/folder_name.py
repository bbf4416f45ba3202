"""The folder is called by its day and a slug, and lies where records of its track lie."""

import datetime
import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission

_NAME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})_[A-Za-z0-9][A-Za-z0-9._+=-]*")
_PLACE = re.compile(r"records/track_[^/]+/[^/]+")


def _check(submission: Submission) -> Iterator[Finding]:
    name = submission.name
    match = _NAME.fullmatch(name)
    if match is None or not _is_day(match[1]):
        wanted = f"a folder is named YYYY-MM-DD_description, without blanks; this one is {name!r}"
        yield failed(wanted, profile="strict")
        yield review(wanted, profile="precedent")
    else:
        yield passed(f"named {name!r}")
    if submission.change is not None and _PLACE.fullmatch(submission.path) is None:
        yield failed(f"lies in {submission.path!r}; a record lies in records/track_<name>/<folder>")


def _is_day(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


RULE = Rule(
    id="folder-name",
    why="Records are found and ordered by the names of their folders; a blank in one breaks the commands of others.",
    source="openai/parameter-golf: records/track_*/YYYY-MM-DD_description; a maintainer had #1851 renamed",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Rename the folder to <day>_<slug> below records/track_<name>/, letters, digits, '_', '-' and '.' only.",
    cases=(1851, 1864, 1319),
)
