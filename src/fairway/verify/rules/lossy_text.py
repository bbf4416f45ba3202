"""The text that is scored is the text of the documents, and not one from which they cannot be had back."""

import ast
import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.legality.expressions import assignments, name_of, path_of, scopes
from fairway.verify.legality.sources import cannot_see, python_programs, sentences
from fairway.verify.programs.nodes import all_nodes
from fairway.verify.submission import Submission

_ENCODE = frozenset("encode Encode encode_as_ids EncodeAsIds encode_ordinary encode_batch tokenize".split())
_FOLDING = frozenset("lower casefold upper swapcase unidecode".split())
_FORMS = frozenset(("NFKC", "NFKD"))
_NAMED = re.compile(r"case-?_?fold|lower-?_?cased?\b|uncased|nfkc_cf|ascii_?fold", re.IGNORECASE)
_SAID = re.compile(r"\bcase-?_?fold|\blower-?cas(?:e|ed|ing)\b|\bNFKC\b", re.IGNORECASE)
_ABOUT = re.compile(r"tokeni[sz]|corpus|\btext\b|normali[sz]|retokeni|dataset", re.IGNORECASE)
_NOT_SO = re.compile(
    r"lossless|reversib|invertib|bijecti|recover|round-?trip|case-?ops|\bno\b|\bnot\b|n't\b|without|unlike|never"
    r"|instead of|\bword\b",
    re.IGNORECASE,
)
_LOOK = "look whether the bytes of the validation documents can be had back from the token IDs"


def _check(submission: Submission) -> Iterator[Finding]:
    found: list[tuple[str, int | None, str]] = [
        (program.file, line, message)
        for program in python_programs(submission)
        if program.tree is not None
        for line, message in _in_python(program.tree)
    ]
    found += list(_named(submission))
    if not found:
        found += list(_said(submission))
    for file, line, message in found[:3]:
        yield review(f"{message}; {_LOOK}", file=file, line=line)
    if not found:
        blind = cannot_see(submission)
        yield blind or passed("nothing in the folder folds case or compatibility characters of the text")


def _in_python(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in all_nodes(tree):
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.lower() in ("nmt_nfkc_cf", "nfkc_cf")
        ):
            yield node.lineno, f"the tokenizer is made with the rule {node.value}, which folds case"
    for _, nodes in scopes(tree):
        folded = {path_of(target): value.lineno for target, value in assignments(nodes) if _folds(value)}
        folded.pop("", None)
        for node in nodes:
            if isinstance(node, ast.Call) and name_of(node.func) in _ENCODE and node.args and not _is_codec(node):
                text = node.args[0]
                if _folds(text):
                    yield text.lineno, "text is folded before it becomes tokens"
                elif path_of(text) in folded:
                    yield folded[path_of(text)], "text is folded before it becomes tokens"
            elif isinstance(node, ast.Return | ast.Yield) and node.value is not None and _folds(node.value):
                if _has_form(node.value) or _outer(node.value) == "casefold":
                    yield node.lineno, "a function that prepares text folds its characters"


def _is_codec(node: ast.Call) -> bool:
    """``text.encode("utf-8")`` makes bytes and no tokens."""
    first = node.args[0]
    return isinstance(first, ast.Constant) and isinstance(first.value, str)


def _folds(node: ast.expr) -> bool:
    """Whether an expression is a text with its letters folded, and nothing but that."""
    return (_outer(node) in _FOLDING and _is_text(node)) or _has_form(node)


def _outer(node: ast.expr) -> str:
    return name_of(node.func) if isinstance(node, ast.Call) else ""


def _is_text(node: ast.expr) -> bool:
    """A name, or a chain of calls on one: ``args.mode.lower()`` and ``"x".lower()`` are settings."""
    while isinstance(node, ast.Call):
        if name_of(node.func) == "normalize":
            return True
        node = (
            node.func.value
            if isinstance(node.func, ast.Attribute) and not node.args
            else node.args[0]
            if node.args
            else node.func
        )
    return isinstance(node, ast.Name | ast.Subscript)


def _has_form(node: ast.expr) -> bool:
    return any(
        isinstance(part, ast.Call)
        and name_of(part.func) == "normalize"
        and part.args
        and isinstance(part.args[0], ast.Constant)
        and part.args[0].value in _FORMS
        for part in ast.walk(node)
    )


def _named(submission: Submission) -> Iterator[tuple[str, int | None, str]]:
    """Tokenizers and data sets whose names say what was done to the text."""
    for path in submission.tree.files:
        if _NAMED.search(path.rsplit("/", 1)[-1]) and path.endswith((".model", ".vocab", ".json", ".bin", ".py")):
            yield path, None, f"holds {path}"
    for log in submission.logs:
        for key, value in log.settings.items():
            data = any(word in key.lower() for word in ("tokenizer", "data", "files", "path"))
            if data and _NAMED.search(value):
                yield log.file, log.lines.get(key), f"ran on {key} {value[:120]}"
                return
    for program in python_programs(submission):
        assert program.tree is not None
        for node in all_nodes(program.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < 200:
                if _NAMED.search(node.value) and re.search(r"fineweb|tokeni|\.model|\.bin", node.value):
                    yield program.file, node.lineno, f"reads {node.value}"


def _said(submission: Submission) -> Iterator[tuple[str, int | None, str]]:
    for sentence in sentences(submission):
        text = sentence.text
        if len(text) < 1000 and _SAID.search(text) and _ABOUT.search(text) and not _NOT_SO.search(text):
            yield sentence.file, sentence.line, "says that its text is folded"
            return


RULE = Rule(
    id="lossy-text",
    why="A text without capitals is easier to guess, and is not the text that the validation set holds.",
    source="README: the score must be right for the documents as they are; open question #1604 (rules 1.8, 2.2 C6)",
    scope="submission",
    check=_check,
    category="lossy_tokenizer",
    fix="Use a transform that can be undone, and count the bytes of the text before it (#1729).",
    cases=(1578, 1585, 1670, 1873),
)
