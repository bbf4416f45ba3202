"""The program scores the whole validation set, and not a piece of it, unless it is told to."""

import ast
import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.legality.expressions import (
    assignments,
    bare,
    default_of,
    name_of,
    names_in,
    number,
    path_of,
    scopes,
)
from fairway.verify.legality.sources import cannot_see, python_programs
from fairway.verify.submission import Submission

_LIMIT = re.compile(
    r"(?:subset|limit|max|cap|first|num|sample|truncate)_?\w*(?:val|eval|tok|docs?)"
    r"|(?:val|eval|ppm|ttt|score)\w*_(?:subset|limit|max|cap|sample)\w*|subset_tokens",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"batch|seq|chunk|stride|seconds|_len\b|vocab|every|steps|interval|bytes|prefix|warm|debug", re.IGNORECASE
)
_VALIDATION = re.compile(r"\bval(?:idation)?_?(?:tok|data|docs|files|shards|ids|np)\w*|\btarget_ids\b", re.IGNORECASE)
LEAST_TOKENS = 10_000
"""What is smaller is no limit on tokens: a number of documents, batches or windows of a diagnosis."""


def _check(submission: Submission) -> Iterator[Finding]:
    validation = submission.track.validation
    most = max(validation.targets) if validation is not None and validation.targets else None
    found = [
        (program.file, line, message)
        for program in python_programs(submission)
        if program.tree is not None
        for line, message in (*_limits(program.tree, most), *_first_shard(program.tree))
    ]
    for file, line, message in found[:3]:
        yield review(f"{message}: look whether the score is of the whole set", file=file, line=line)
    if not found:
        blind = cannot_see(submission)
        yield blind or passed(f"{len(python_programs(submission))} programs: no limit on what is scored")


def _limits(tree: ast.Module, most: int | None) -> Iterator[tuple[int, str]]:
    """Settings that name a limit, are on by default and are below the size of the set; and where they are used."""
    limits: dict[str, tuple[int, float]] = {}
    for _, nodes in scopes(tree):
        for target, value in assignments(nodes):
            name = name_of(target)
            # How many documents there are is a matter of how the data are split.
            if not name or not _LIMIT.search(name) or _OTHER.search(name) or "doc" in name.lower():
                continue
            limit = default_of(value)
            if limit is not None and limit >= LEAST_TOKENS and (most is None or limit < most * 0.999):
                limits[name] = (value.lineno, limit)
    if not limits:
        return
    for _, nodes in scopes(tree):
        for node in nodes:
            cuts = isinstance(node, ast.Slice) and node.upper is not None and node.lower is None
            smaller = isinstance(node, ast.Call) and name_of(node.func) in ("min", "minimum")
            if not cuts and not smaller:
                continue
            used = {name.rsplit(".", 1)[-1] for name in names_in(node)} & set(limits)
            for name in sorted(used):
                line, limit = limits.pop(name)
                yield (
                    line,
                    f"{name} is {limit:,.0f} unless it is set, less than the {_size(most)}, and cuts something short",
                )


def _size(most: int | None) -> str:
    return "validation set" if most is None else f"{most:,} targets of the validation set"


def _first_shard(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """``val_tokens[:1_000_000]`` and ``sorted(glob(val_files))[:1]``."""
    for _, nodes in scopes(tree):
        for node in nodes:
            if not isinstance(node, ast.Subscript) or not isinstance(node.ctx, ast.Load):
                continue
            bound = node.slice
            if isinstance(bound, ast.Slice) and bound.lower is None and bound.step is None and bound.upper is not None:
                count = number(bare(bound.upper))
                if count is None or count <= 0:
                    continue
                name = path_of(node.value)
                if name and _VALIDATION.search(name.rsplit(".", 1)[-1]) and count >= LEAST_TOKENS:
                    yield node.lineno, f"only the first {count:,.0f} of {name} are taken"
                if _globs_validation(node.value):
                    yield node.lineno, f"only the first {count:,.0f} validation shards are read"


def _globs_validation(node: ast.expr) -> bool:
    words = names_in(node)
    if not words & {"glob", "glob.glob", "sorted"} and not any(word.endswith(".glob") for word in words):
        return False
    text = " ".join(words) + " ".join(
        part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    )
    return re.search(r"\bval_files|fineweb_val|val_glob|val_pattern", text) is not None


RULE = Rule(
    id="partial-validation-code",
    why="A score over a piece of the validation set is a score of another set.",
    source="README: the fixed first 50,000 documents, all shards (rules 1.4, 2.2 C5; #1835, #1854)",
    scope="submission",
    check=_check,
    category="partial_validation",
    fix="Score every validation token; where that takes too long, the method takes too long.",
    cases=(1835, 1854),
)
