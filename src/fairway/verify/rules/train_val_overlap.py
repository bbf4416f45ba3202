"""The data of the folder are prepared so that no validation document is trained on."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.legality.expressions import assignments, default_of, name_of, scopes
from fairway.verify.legality.sources import Sentence, cannot_see, python_programs, sentences
from fairway.verify.submission import Submission
from fairway.verify.tracks import Profile

_SPLIT = re.compile(r"\A(?:n|num)?_?(?:val|valid|validation)_?docs?\Z|\Adocs_val\Z|\Anum_val_docs\Z", re.IGNORECASE)
_STATED = re.compile(r"val[-_]docs\s*[= ]\s*`?\s*([\d_,]+)")
_TRAINED = re.compile(r"train", re.IGNORECASE)
_ADMITTED = re.compile(r"\A(?=.*\btrain)(?=.*\bval).*\b(?:overlap|contaminat)", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:no|zero|0|not?|without|never|disjoint|fix(?:es|ed)?|free)\b", re.IGNORECASE)
ALL_SHARDS = 1499
"""Training shards that the preparation script of the CaseOps folders writes when it is given every document (#2127)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Default:
    """A script that takes another number of documents for validation than the track says."""

    file: str
    line: int
    documents: int


def _check(submission: Submission) -> Iterator[Finding]:
    validation = submission.track.validation
    documents = 50_000 if validation is None else validation.documents
    default = next(_defaults(submission, documents), None)
    said = _stated(submission, documents)
    shards = next(
        (
            (log.file, log.lines.get("train_shards"))
            for log in submission.logs
            if log.settings.get("train_shards", "").strip() == str(ALL_SHARDS)
        ),
        None,
    )
    if said is not None:
        yield review(
            f"says of its training data another split than the {documents:,} validation documents of the track: look "
            "whether training shards hold documents that are scored",
            file=said.file,
            line=said.line,
        )
    if shards is not None:
        yield review(
            f"trained on {ALL_SHARDS} shards, as many as a preparation of all documents leaves: look whether "
            "validation documents are among them",
            file=shards[0],
            line=shards[1],
        )
    if default is not None:
        # A folder whose logs score the whole set was not made by the default alone; accepted ones ship it too.
        whole = any(_whole(submission, log.val_tokens) for log in submission.logs)
        profile: Profile = "strict" if whole else "both"
        yield review(
            f"takes {default.documents:,} documents for validation unless told otherwise, the track {documents:,}: "
            f"what lies between goes to the training shards ({documents - default.documents:+,} documents); look by "
            "what command the shards were made",
            file=default.file,
            line=default.line,
            profile=profile,
        )
    if default is None and said is None and shards is None:
        blind = cannot_see(submission)
        yield blind or passed("nothing in the folder prepares or describes another split than the track's")


def _whole(submission: Submission, tokens: int | None) -> bool:
    validation = submission.track.validation
    if tokens is None or validation is None:
        return False
    return any(abs(tokens - targets) <= 0.001 * targets for targets in validation.targets)


def _defaults(submission: Submission, documents: int) -> Iterator[_Default]:
    for program in python_programs(submission):
        assert program.tree is not None
        for node, name, value in _options(program.tree):
            if _SPLIT.match(name) and value == int(value) and 0 < value < documents:
                yield _Default(file=program.file, line=node, documents=int(value))


def _options(tree: ast.Module) -> Iterator[tuple[int, str, float]]:
    """Line, name and number of ``add_argument("--val-docs", default=10_000)`` and of ``NUM_VAL_DOCS = 10_000``."""
    for _, nodes in scopes(tree):
        for node in nodes:
            if not isinstance(node, ast.Call) or name_of(node.func) not in ("add_argument", "Option", "option"):
                continue
            flags = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
            value = next((default_of(word.value) for word in node.keywords if word.arg == "default"), None)
            if flags and value is not None:
                yield node.lineno, flags[0].lstrip("-").replace("-", "_"), value
        for target, value_node in assignments(nodes):
            value = default_of(value_node)
            if name_of(target) and value is not None:
                yield value_node.lineno, name_of(target), value


def _stated(submission: Submission, documents: int) -> Sentence | None:
    for sentence in sentences(submission):
        for found in _STATED.finditer(sentence.text):
            digits = re.sub(r"\D", "", found.group(1))
            other = digits != "" and len(digits) < 12 and int(digits) != documents
            if other and _TRAINED.search(sentence.text):
                return sentence
        if _ADMITTED.search(sentence.text) and not _DENIED.search(sentence.text):
            return sentence
    return None


RULE = Rule(
    id="train-val-overlap",
    why="A model that was trained on the documents it is scored on is scored on its memory.",
    source="#2127, #2146: the first 50,000 documents are for validation, later ones for training (rules 1.4, C7)",
    scope="submission",
    check=_check,
    category="train_val_overlap",
    fix="Prepare the data with the track's number of validation documents, train again, and show the command.",
    cases=(2018, 2118, 2127, 2130),
)
