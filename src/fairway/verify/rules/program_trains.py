"""The program does what a record claims: it computes gradients, and its entry point is no placeholder."""

import ast
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review, unverifiable
from fairway.verify.programs.nodes import all_nodes
from fairway.verify.programs.program import Program
from fairway.verify.programs.verdicts import running
from fairway.verify.submission import Submission

_GRADIENTS = frozenset({"backward", "grad", "value_and_grad", "vjp", "run_backward"})
_ENTRIES = frozenset({"main", "train", "run"})


def _check(submission: Submission) -> Iterator[Finding]:
    programs = running(submission)
    if not programs:
        yield unverifiable("there is no program that could be read")
        return
    main = programs[0]
    told = [finding for program in programs for finding in _placeholders(program)]
    yield from told
    if not any(_computes_gradients(program) for program in programs):
        told = [*told, review("nothing in it computes a gradient: what made the model is not here", file=main.where)]
        yield told[-1]
    if not told:
        yield passed("computes gradients, and no entry point is empty", file=main.file)


def _placeholders(program: Program) -> Iterator[Finding]:
    assert program.tree is not None
    for node in program.tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in _ENTRIES and all(_says_nothing(one) for one in node.body):
            yield review(f"{node.name}() is a placeholder: it does nothing", file=program.where, line=node.lineno)


def _says_nothing(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Pass):
        return True
    if isinstance(statement, ast.Raise):
        return "NotImplementedError" in ast.unparse(statement)[:200]
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return True
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return isinstance(statement.value.func, ast.Name) and statement.value.func.id == "print"
    return False


def _computes_gradients(program: Program) -> bool:
    assert program.tree is not None
    for node in all_nodes(program.tree):
        if isinstance(node, ast.Attribute) and node.attr in _GRADIENTS:
            return True
        if isinstance(node, ast.Name) and node.id in _GRADIENTS:
            return True
    return False


RULE = Rule(
    id="program-trains",
    why="A sketch of a model without the loop that trains it cannot have made the score.",
    source="openai/parameter-golf README: scripts must run and reproduce the result; rules part 3 G",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Ship the whole program that ran.",
    cases=(1864,),
)
