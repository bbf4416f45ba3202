"""The programs of a submission in every language, and the sentences of its texts, each with its place."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fairway.errors import DataError
from fairway.verify.finding import Finding, unverifiable
from fairway.verify.programs.nodes import all_nodes
from fairway.verify.programs.program import Program
from fairway.verify.submission import Submission

C_SUFFIXES = (".c", ".cc", ".cpp", ".cxx", ".cu", ".cuh", ".h", ".hpp")
C_LIMIT_BYTES = 1_000_000
MOST_C_FILES = 40
MOST_TEXTS = 12
MOST_LOG_LINES = 300_000
MOST_LETTERS = 2000
"""Of one sentence; a longer one is cut, so that no pattern takes long."""
_TEXT_LIMIT_BYTES = 400_000
_C_SIGNS = re.compile(r"#include\s*<|\b(?:static|void|int|uint64_t|int64_t|double|float)\s+\*?\w+\s*\([^;{]*\)\s*\{")
_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+(?=[A-Z*_`(\[])|\n\s*\n|\n(?=\s*[-*|#>\d])|(?<=\")\s*,\s*(?=\")")


@dataclass(frozen=True, slots=True, kw_only=True)
class CSource:
    """C, C++ or CUDA text: a file, or a constant of a Python program that is compiled when it runs."""

    file: str
    text: str
    first_line: int = 1
    """Line of the file on which the text begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence that the folder says of itself."""

    file: str
    line: int
    text: str


def python_programs(submission: Submission) -> tuple[Program, ...]:
    """Every Python program whose text can be parsed, the main one first."""
    programs = submission.programs
    found = [] if programs.main is None else [programs.main]
    return tuple(program for program in (*found, *programs.helpers) if program.tree is not None)


def cannot_see(submission: Submission) -> Finding | None:
    """Why a static rule has nothing to look at; None where the main program can be read."""
    main = submission.programs.main
    if main is None:
        return unverifiable("the folder holds no program to look at")
    if main.tree is None:
        reason = main.hidden or "it cannot be parsed"
        return unverifiable(f"the main program cannot be looked at: {reason}", file=main.file)
    return None


def c_sources(submission: Submission) -> tuple[CSource, ...]:
    """C of the folder: files by their ending, and long constants of the Python programs that look like it."""
    found: list[CSource] = []
    for path in submission.tree.files:
        if path.lower().endswith(C_SUFFIXES) and len(found) < MOST_C_FILES:
            text = _text(submission, path, C_LIMIT_BYTES)
            if text is not None:
                found.append(CSource(file=path, text=text))
    for program in python_programs(submission):
        found += _constants(program)
    return tuple(found)


def _constants(program: Program) -> list[CSource]:
    assert program.tree is not None
    return [CSource(file=program.file, text=text, first_line=line) for line, text in c_constants(program.tree)]


@lru_cache(maxsize=64)
def c_constants(tree: ast.Module) -> tuple[tuple[int, str], ...]:
    """First line and text of the constants of a program that hold C."""
    return tuple(
        (node.lineno, node.value)
        for node in all_nodes(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and len(node.value) > 200
        and "{" in node.value
        and _C_SIGNS.search(node.value)
    )


def sentences(submission: Submission) -> Iterator[Sentence]:
    """What README, submission.json and other texts at the top of the folder say, sentence by sentence."""
    for file, text in _texts(submission):
        at, line = 0, 1
        for end in _SENTENCE_END.finditer(text):
            yield from _sentence(file, text[at : end.start()], line)
            line += text.count("\n", at, end.end())
            at = end.end()
        yield from _sentence(file, text[at:], line)


def log_lines(submission: Submission) -> Iterator[tuple[str, int, bytes]]:
    """Each line of each log with its file and number; lines are cut at 4,096 bytes and logs that cannot be read end."""
    for log in submission.logs:
        try:
            with submission.tree.open(log.file) as stream:
                for number in range(1, MOST_LOG_LINES + 1):
                    line = stream.readline(4096)
                    if not line:
                        break
                    yield log.file, number, line
        except (OSError, ValueError, DataError):
            continue


def _sentence(file: str, text: str, line: int) -> Iterator[Sentence]:
    for at in range(0, len(text), MOST_LETTERS):
        piece = text[at : at + MOST_LETTERS]
        bare = " ".join(piece.split())
        if bare:
            before = len(piece) - len(piece.lstrip())
            yield Sentence(file=file, line=line + text.count("\n", 0, at + before), text=bare)


def _texts(submission: Submission) -> Iterator[tuple[str, str]]:
    if submission.readme is not None and submission.readme_file is not None:
        yield submission.readme_file, submission.readme[:_TEXT_LIMIT_BYTES]
    if submission.submission_file is not None:
        yield submission.submission_file, submission.claim_text[:_TEXT_LIMIT_BYTES]
    others = [
        path
        for path in submission.tree.files
        if path.lower().endswith(".md") and path != submission.readme_file and "/" not in path
    ]
    for path in others[:MOST_TEXTS]:
        text = _text(submission, path, _TEXT_LIMIT_BYTES)
        if text is not None:
            yield path, text


def _text(submission: Submission, path: str, limit_bytes: int) -> str | None:
    try:
        return submission.tree.read(path, limit_bytes).decode("utf-8", "replace")
    except DataError:
        return None
