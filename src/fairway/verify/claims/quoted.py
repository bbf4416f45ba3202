"""Where a log holds a claimed number all the same, in a line that no pattern of scores knows.

Before a number is called absent, every line of the folder's logs is looked at: scripts print their scores in many ways.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fairway.errors import DataError
from fairway.verify.claims.compare import Number, agrees
from fairway.verify.logs.facts import LogFacts
from fairway.verify.logs.lines import Lines
from fairway.verify.tree import Tree

MOST_BYTES = 64_000_000
"""A log beyond this is not looked through again."""

_NUMBER = re.compile(r"(?<![0-9.])[0-9]{1,2}\.[0-9]{4,}(?![0-9])")
_STEP = re.compile(r"\W*(?:step|iter|epoch)?\W*[0-9]+\s*/\s*[0-9]+|\W*(?:step|iter)\w*\W*[0-9]+", re.IGNORECASE)
_LONGEST_TOLD = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A line that holds a number."""

    file: str
    line: int
    text: str
    """The line, cut to what fits a message."""


def written(tree: Tree, logs: Sequence[LogFacts], claimed: Number, *, word: str, digit: float) -> Place | None:
    """The last line, of the first log that has one, with ``word`` and the number to its last digit; None of none.

    Lines of training steps do not count: among so many numbers any number occurs.
    """
    for log in logs:
        entry = tree.files.get(log.file)
        if entry is None or entry.size_bytes > MOST_BYTES:
            continue
        found = _in_log(tree, log.file, claimed, word, digit)
        if found is not None:
            return found
    return None


def _in_log(tree: Tree, file: str, claimed: Number, word: str, digit: float) -> Place | None:
    found: Place | None = None
    start = f"{float(claimed):.2f}"[:-1]
    try:
        with tree.open(file) as stream:
            for number, line in Lines(stream):
                if start not in line or word not in line or _STEP.match(line):
                    continue
                if any(agrees(claimed, float(text), most=digit) for text in _NUMBER.findall(line)):
                    found = Place(file=file, line=number, text=" ".join(line.split())[:_LONGEST_TOLD])
    except (OSError, ValueError, DataError):
        return None
    return found
