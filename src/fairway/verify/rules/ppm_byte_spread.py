"""No mixture of the network with a model of bytes that only holds for the bytes that came."""

import ast
import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.legality.c_code import functions, walk
from fairway.verify.legality.expressions import assignments, bare, is_number, name_of, names_in, path_of, scopes
from fairway.verify.legality.sources import CSource, c_sources, cannot_see, python_programs
from fairway.verify.submission import Submission

BYTES = 256
_LOG_PROBABILITY = re.compile(r"nll|log_?p|logprob|\blp\b|_lp|lp_|loss|nats|\blpa?\b", re.IGNORECASE)
_LENGTH = re.compile(r"len|n_?b(?:ytes)?\b|bytes|\bnb\b", re.IGNORECASE)
_C_UNIFORM = re.compile(r"1(?:\.0?)?[fF]?\s*/\s*256|log[f2]?\s*\(\s*256|/\s*256\.")
_C_MIX = re.compile(
    r"log1?[pf]?\s*\(\s*1(?:\.0?)?[fF]?\s*-|\(\s*1(?:\.0?)?[fF]?\s*-\s*\w+\s*\)\s*\*|\bl1(?:hi|lo)\b|log1p\s*\(\s*exp|log\s*\(\s*exp"
)
_C_SPREAD = re.compile(
    r"(?:nll|logp|log_p|lp)\w*(?:\s*\[\s*\w+\s*\])?\s*\)?\s*/\s*(?:\(\s*(?:double|float)\s*\)\s*)?(?:n_?b|len|n_bytes|nbytes)\w*",
    re.IGNORECASE,
)
_LOOK = "look whether what is mixed is a distribution over all tokens before the scored one is known"


def _check(submission: Submission) -> Iterator[Finding]:
    programs = python_programs(submission)
    sources = c_sources(submission)
    found = [
        (program.file, line, message)
        for program in programs
        if program.tree is not None and "256" in program.text
        for line, message in _in_python(program.tree)
    ]
    found += [(source.file, line, message) for source in sources for line, message in _in_c(source)]
    for file, line, message in found[:3]:
        yield review(f"{message}; {_LOOK}", file=file, line=line)
    if not found:
        blind = cannot_see(submission)
        yield blind or passed(f"{len(programs) + len(sources)} programs: none mixes the network with a model of bytes")


def _in_python(tree: ast.Module) -> Iterator[tuple[int, str]]:
    constants = {
        path_of(target)
        for _, nodes in scopes(tree)
        for target, value in assignments(nodes)
        if path_of(target) and _is_uniform(value)
    }
    counts_bytes = any(_is_uniform(node) for _, nodes in scopes(tree) for node in nodes)
    for _, nodes in scopes(tree):
        blend = next((node for node in nodes if _is_mixture(node)), None)
        if blend is None or not counts_bytes:
            continue
        spread = next((node for node in nodes if _is_spread(node)), None)
        if spread is not None:
            yield (
                _line(spread),
                "a token's log-probability is divided by the number of its bytes, and mixed byte by byte",
            )
        elif _has_exp(blend) and any(_is_uniform(node) or _names_uniform(node, constants) for node in nodes):
            yield _line(blend), "the network's probability is mixed with that of a model that counts bytes"


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 1)


def _is_uniform(node: ast.AST) -> bool:
    """``1 / 256`` or ``x / 256``: the floor of a model of bytes."""
    if isinstance(node, ast.Call) and name_of(node.func) in ("log", "log2") and node.args:
        node = node.args[0]
        if is_number(node, BYTES):
            return True
    while isinstance(node, ast.UnaryOp):
        node = node.operand
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and is_number(node.right, BYTES)


def _names_uniform(node: ast.AST, constants: set[str]) -> bool:
    return isinstance(node, ast.Name | ast.Attribute) and path_of(node) in constants


def _is_mixture(node: ast.AST) -> bool:
    """``w * p + (1 - w) * q``, or the logarithm of it from ``log(w)`` and ``log(1 - w)``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = node.left, node.right
        weights = [(one, other) for one, other in ((left, right), (right, left)) if _complement(one) is not None]
        for one, other in weights:
            weight = _complement(one)
            if weight is not None and isinstance(other, ast.BinOp) and _holds(other, weight):
                return True
        # In logarithms: log(1 - w) + q.
        for side in (left, right):
            if isinstance(side, ast.Call) and name_of(side.func) in ("log", "log1p", "_ln", "ln") and side.args:
                if _one_minus(side.args[0]) is not None:
                    return True
    return isinstance(node, ast.Call) and name_of(node.func) in ("logaddexp", "logaddexp2")


def _complement(node: ast.expr) -> ast.expr | None:
    """``w`` of ``(1 - w) * x``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        for side in (node.left, node.right):
            weight = _one_minus(side)
            if weight is not None:
                return weight
    return None


def _one_minus(node: ast.expr) -> ast.expr | None:
    node = bare(node)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub) and is_number(node.left, 1):
        return node.right
    return None


def _holds(node: ast.expr, weight: ast.expr) -> bool:
    return bool(names_in(weight) & names_in(node))


def _has_exp(node: ast.AST) -> bool:
    """Whether an exponential or a logarithm says that what is mixed are probabilities."""
    return any(
        isinstance(part, ast.Call) and name_of(part.func).lstrip("_").startswith(("exp", "log", "ln"))
        for part in ast.walk(node)
    )


def _is_spread(node: ast.AST) -> bool:
    if isinstance(node, ast.Call) and name_of(node.func) == "exp" and node.args:
        inner = [
            part for part in ast.walk(node.args[0]) if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div)
        ]
        return any(_LENGTH.search(" ".join(names_in(part.right))) for part in inner)
    if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
        return False
    above, below = " ".join(names_in(node.left)), " ".join(names_in(node.right))
    return bool(_LOG_PROBABILITY.search(above) and _LENGTH.search(below)) and not _is_uniform(node)


def _in_c(source: CSource) -> Iterator[tuple[int, str]]:
    bodies = list(functions(source.text))
    text = [(body, " ; ".join(node.text for node in walk(body.body))) for body in bodies]
    if not any(_C_UNIFORM.search(code) for _, code in text):
        return
    if not any(_C_MIX.search(code) for _, code in text):
        return
    for body, _ in text:
        for node in walk(body.body):
            if _C_SPREAD.search(node.text):
                line = source.first_line + node.line - 1
                yield line, "a token's log-probability is divided by the number of its bytes, and mixed byte by byte"
                return


RULE = Rule(
    id="ppm-byte-spread",
    why="Spreading a token's probability over its bytes, and mixing each with a model of bytes, makes a number for the "
    "bytes that came and no distribution over tokens.",
    source="#1872 and #1905: not a distribution over the tokens; excluded by #1902 (rules 2.2 C2)",
    scope="submission",
    check=_check,
    category="ppm_byte_spread",
    fix="Score the network alone, or mix distributions over the whole vocabulary.",
    cases=(1835, 1850, 1854, 1877, 1881, 1933, 2098),
)
