"""Every log of a folder, with the part that it plays."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import replace

from fairway.verify.claims.claim import Claim
from fairway.verify.claims.reader import read_claim
from fairway.verify.logs.facts import LogFacts
from fairway.verify.logs.parse import read_log
from fairway.verify.logs.roles import seed_in_name, with_roles
from fairway.verify.programs.program import Programs
from fairway.verify.tree import Tree

MOST_LOGS = 200
_LOG = re.compile(r"\.(?:log|out|stdout)$|(?:^|/)[^/.]*log[^/.]*$", re.IGNORECASE)
_TEXT = re.compile(r"\.txt$", re.IGNORECASE)
_NO_LOG = re.compile(r"(?:^|/)(?:requirements|licen[cs]e|readme|notice|vocab|tokenizer)[^/]*$", re.IGNORECASE)


def read_logs(tree: Tree, programs: Programs, claim: Claim | None = None) -> tuple[LogFacts, ...]:
    """The facts of every log of a folder, by path; each is streamed. A log that cannot be read is one with a problem.

    The claim tells which logs it rests on; where none is given, the folder's own is read.
    """
    if claim is None:
        _, claim, _ = read_claim(tree)
    found = []
    for file in _files(tree):
        try:
            with tree.open(file) as stream:
                log, dump = read_log(stream, file)
        except (OSError, EOFError, ValueError) as error:
            found.append(LogFacts(file=file, role="summary", problems=((f"cannot be read: {error}", None),)))
            continue
        if _LOG.search(file) or log.steps is not None or log.scores or log.seed_logged is not None:
            named = replace(log, seed_in_name=seed_in_name(file))
            found.append(named if dump is None else _compared(named, dump, programs))
    return with_roles(found, claim)


def _files(tree: Tree) -> Iterator[str]:
    likely = [path for path in tree.files if (_LOG.search(path) or _TEXT.search(path)) and not _NO_LOG.search(path)]
    yield from likely[:MOST_LOGS]


def _compared(log: LogFacts, dump: str, programs: Programs) -> LogFacts:
    """The log with what its dump is: a file of the folder, or so many lines away from the main program."""
    every = [program for program in (programs.main, *programs.helpers) if program is not None]
    for program in every:
        for text in (program.shipped.decode("utf-8", "replace"), program.text):
            if _same(text) == _same(dump):
                return replace(log, dump_of=program.file, dump_differs=0 if program is programs.main else None)
    if programs.main is None:
        return log
    mine, theirs = programs.main.text.splitlines(), dump.splitlines()
    changed = sum(
        max(b - a, d - c)
        for tag, a, b, c, d in difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes()
        if tag != "equal"
    )
    return replace(log, dump_differs=changed)


def _same(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
