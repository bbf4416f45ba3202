"""The bytes of a token are counted once, from the tokenizer, as the organisers' tables count them."""

import ast
import re
from collections.abc import Iterator

from fairway.errors import DataError
from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.legality.expressions import (
    Scope,
    assignments,
    bare,
    default_of,
    is_number,
    name_of,
    names_in,
    scopes,
)
from fairway.verify.legality.sentencepiece import pieces_of
from fairway.verify.legality.sources import cannot_see, log_lines, python_programs
from fairway.verify.submission import Submission

SPACE = "\u2581"
_MODEL_LIMIT_BYTES = 8_000_000
_RATE = re.compile(r"\A(?:avg_|mean_)?(?:bytes_per_tok(?:en)?s?|tok(?:en)?s?_per_byte|bpt)\Z", re.IGNORECASE)
_TABLE_KEYS = frozenset(("base_bytes", "token_bytes", "byte_lengths", "bytes_per_token"))
_COUNTED = re.compile(rb"\btokens[=:]\s*(\d[\d,]*)\s+bytes[=:]\s*(\d[\d,]*)")


def _check(submission: Submission) -> Iterator[Finding]:
    programs = python_programs(submission)
    found: list[tuple[str, int | None, str]] = []
    for program in programs:
        assert program.tree is not None
        found += [(program.file, line, message) for line, message in _in_python(program.tree)]
    found += _vocabularies(submission)
    found += _counts(submission)
    for file, line, message in found[:4]:
        yield review(message, file=file, line=line)
    if not found:
        blind = cannot_see(submission)
        yield blind or passed(f"{len(programs)} programs: no table of bytes that counts otherwise than the organisers'")


def _in_python(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for scope, nodes in scopes(tree):
        if any(isinstance(node, ast.Call) and name_of(node.func) in ("id_to_piece", "IdToPiece") for node in nodes):
            yield from _table(scope, nodes)
        for node in nodes:
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.ctx, ast.Load)
                and isinstance(node.slice, ast.Constant)
            ):
                if node.slice.value in _TABLE_KEYS and not _is_own(node.value, nodes):
                    yield (
                        node.lineno,
                        f"the bytes of a token are read from a file ({node.slice.value}): count them from the "
                        "tokenizer, byte-fallback tokens as one each, and compare",
                    )
                    break
        for target, value in assignments(nodes):
            rate = default_of(value)
            if rate is not None and rate > 0 and _RATE.match(name_of(target)):
                yield (
                    value.lineno,
                    f"{name_of(target)} is the number {rate:g}: look whether the score is divided by it instead of by "
                    "bytes that were counted",
                )


def _is_own(node: ast.expr, nodes: tuple[ast.AST, ...]) -> bool:
    """Whether a mapping is made by the program itself: only what a loader gave came from a file."""
    names = names_in(node)
    for part in nodes:
        if isinstance(part, ast.With):
            for item in part.items:
                if (
                    item.optional_vars is not None
                    and names & names_in(item.optional_vars)
                    and _loads(item.context_expr)
                ):
                    return False
    return not any(_loads(value) for target, value in assignments(nodes) if name_of(target) in names)


def _loads(node: ast.expr) -> bool:
    return any(
        isinstance(part, ast.Call) and name_of(part.func) in ("load", "loads", "load_file") for part in ast.walk(node)
    )


def _table(scope: Scope, nodes: tuple[ast.AST, ...]) -> Iterator[tuple[int, str]]:
    """What a function does wrong that turns pieces into numbers of bytes."""
    calls = {name_of(node.func) for node in nodes if isinstance(node, ast.Call)}
    stores = [
        (value.lineno, value)
        for target, value in assignments(nodes)
        if isinstance(target, ast.Subscript) and _is_length(value)
    ]
    if not stores:
        return
    if not calls & {"is_byte", "IsByte"} and not _tells_bytes(nodes):
        yield (
            stores[0][0],
            "byte-fallback tokens are counted by the letters of their names (<0x41> has six): look for is_byte, one "
            "byte each",
        )
    spaced = any(
        isinstance(target, ast.Subscript) and isinstance(value, ast.Constant) and value.value is True
        for target, value in assignments(nodes)
    )
    strips = any(isinstance(node, ast.Subscript) and _is_rest(node) for node in nodes) or "lstrip" in calls
    for line, value in stores:
        counts_space = (
            isinstance(value, ast.BinOp)
            and isinstance(value.op, ast.Add)
            and (is_number(bare(value.right), 1) or is_number(bare(value.left), 1))
        )
        replaces = not strips and any(
            isinstance(part, ast.Call) and name_of(part.func) == "replace" for part in ast.walk(value)
        )
        if spaced and (counts_space or replaces):
            yield (
                line,
                "the table counts the leading space, and marks it for the evaluation to count: look whether it is "
                "added a second time there",
            )
            return


def _is_length(value: ast.expr) -> bool:
    """``len(piece.encode())``, with or without something added."""
    return any(
        isinstance(part, ast.Call)
        and name_of(part.func) == "len"
        and any(isinstance(inner, ast.Call) and name_of(inner.func) == "encode" for inner in ast.walk(part))
        for part in ast.walk(value)
    ) or (isinstance(value, ast.Call) and name_of(value.func) == "len" and bool(names_in(value) & {"raw", "encoded"}))


def _is_rest(node: ast.Subscript) -> bool:
    return isinstance(node.slice, ast.Slice) and node.slice.lower is not None and is_number(node.slice.lower, 1, 3)


def _tells_bytes(nodes: tuple[ast.AST, ...]) -> bool:
    """Whether byte tokens are told by their name, ``<0x41>``."""
    return any(isinstance(node, ast.Constant) and isinstance(node.value, str) and "<0x" in node.value for node in nodes)


def _vocabularies(submission: Submission) -> list[tuple[str, int | None, str]]:
    """Tokenizers of the folder that have no piece for a space of its own."""
    found: list[tuple[str, int | None, str]] = []
    for path in submission.tree.files:
        if not path.endswith(".model"):
            continue
        try:
            pieces = pieces_of(submission.tree.read(path, _MODEL_LIMIT_BYTES))
        except DataError:
            continue
        if len(pieces) > 256 and SPACE not in pieces:
            found.append(
                (
                    path,
                    None,
                    f"none of its {len(pieces)} pieces is the space alone: a space before an unknown letter becomes "
                    "three byte tokens, and is counted as three bytes",
                )
            )
    return found


def _counts(submission: Submission) -> list[tuple[str, int | None, str]]:
    """Lines of logs that give bytes for all validation tokens, other than the track's."""
    validation = submission.track.validation
    if validation is None:
        return []
    for file, number, raw in log_lines(submission):
        match = _COUNTED.search(raw) if b"bytes" in raw else None
        if match is None:
            continue
        tokens, size = (int(text.replace(b",", b"")) for text in match.groups())
        whole = any(abs(tokens - targets) <= 0.001 * targets for targets in validation.targets)
        if whole and abs(size - validation.bytes) > max(validation.tolerance, 2e-4) * validation.bytes:
            off = 100.0 * (size / validation.bytes - 1.0)
            text = (
                f"counts {size:,} bytes for {tokens:,} tokens, {off:+.2f} % from the track's "
                f"{validation.bytes:,}: look whether the score is divided by that number"
            )
            return [(file, number, text)]
    return []


RULE = Rule(
    id="byte-tables",
    why="Bits per byte are as wrong as the bytes they are divided by.",
    source="README: build_sentencepiece_luts and eval_val (rules 1.8, 2.2 C6, 3.C; #897, #1143, #1271, #1804)",
    scope="submission",
    check=_check,
    category="byte_accounting",
    fix="Use the organisers' tables: one byte for a byte token, the letters without the leading space, plus one for it "
    "where the token before is no boundary.",
    cases=(755, 1143, 1184, 1289, 1545, 1672, 1687, 2138),
)
