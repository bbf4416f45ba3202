"""What the packed program need not check, for the workshop has, and need not say, for the readable one does.

- Contracts. A guard that raises ``ValueError`` is a promise among our own functions, kept or broken by the code alone;
  one that raises ``MalformedError`` looks for what no writer of ours makes in an artifact whose digest holds, and the
  program reads its own. Both are for others who call the package; here they go the way of assertions.
- What only rewords an ``OSError`` of opening a file: ``launch`` tells either in one line, and either names the file.
- Chains (``raise ... from``), ``zip``'s ``strict`` and what makes a dataclass frozen: nobody sees them.
- Messages and kinds. An error keeps its exit status and its first clause, which names the file and what is wrong with
  it. What would be right is said by the line of ``train_gpt_source.py`` that raises it.
"""

import ast
import re
from collections.abc import Sequence

from fairway.bundle.prune import reach

CONTRACTS = frozenset({"ValueError", "MalformedError"})
"""Errors that no file, recipe or environment causes in a program that was made for one recipe."""

_ANY_ERROR = "FairwayError"
_CLAUSE_ENDS = re.compile(r"\s*[,;(]")
_LOOK = frozenset(
    """
    all any array_equal bool endswith fullmatch get_compressed get_frame_parameters int is_compiling is_finished
    isfinite isinstance items keys len list max min numel set size sorted startswith str sum tuple type values
    """.split()
)


_WRITES = frozenset({"write", "flush", "close", "fsync", "replace"})
"""What fails without naming the file."""


def terse(tree: ast.Module) -> ast.Module:
    """The program without contracts, its messages cut; changes ``tree``."""
    errors = _errors(tree)
    while _drop_contracts(tree, errors):
        pass
    _Cut(errors).visit(tree)
    _merge(tree, errors - {_ANY_ERROR})
    return ast.fix_missing_locations(tree)


def _merge(tree: ast.Module, errors: set[str]) -> None:
    """Errors that nobody tells apart become the one that stands above them."""
    above = {
        node.name: base.id
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name in errors
        for base in node.bases
        if isinstance(base, ast.Name)
    }
    made = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    made |= {id(base) for node in tree.body if isinstance(node, ast.ClassDef) for base in node.bases}
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in errors]
    alike = errors - {node.id for node in names if id(node) not in made and isinstance(node.ctx, ast.Load)}
    for node in names:
        while node.id in alike:
            node.id = above[node.id]
    tree.body = [node for node in tree.body if not (isinstance(node, ast.ClassDef) and node.name in alike)]


def _errors(tree: ast.Module) -> set[str]:
    """Names of the errors that a user can cause."""
    errors = {_ANY_ERROR}
    for node in tree.body:  # a class stands behind its base
        if isinstance(node, ast.ClassDef):
            if any(isinstance(base, ast.Name) and base.id in errors for base in node.bases):
                errors.add(node.name)
    return errors


# ---- contracts


def _drop_contracts(tree: ast.Module, errors: set[str]) -> bool:
    heeded = _heeded(tree)
    refusals = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and _only_raises(node)}
    lookers = _lookers(tree)
    dropped = False
    for call in [n for n in ast.walk(tree) if isinstance(n, ast.Call)]:  # a callback that refuses is a contract too
        call.keywords = [k for k in call.keywords if not (isinstance(k.value, ast.Name) and k.value.id in refusals)]
    for node in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
        if id(node) in heeded or node.name in refusals:
            continue
        unread = _unread(node)
        for owner in ast.walk(node):
            for name in ("body", "orelse", "finalbody"):
                block = getattr(owner, name, None)
                if isinstance(block, list) and block and isinstance(block[0], ast.stmt):
                    kept = [part for each in block for part in _without(each, refusals, lookers, errors, unread)]
                    if len(kept) != len(block) or any(a is not b for a, b in zip(kept, block, strict=True)):
                        dropped = True
                        block[:] = kept or ([ast.Pass()] if name == "body" else [])
    return dropped


def _heeded(tree: ast.Module) -> set[int]:
    """``id`` of functions that are called where a ``ValueError`` is caught and something is made of it."""
    found: set[int] = set()
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            caught = {
                e.id
                for handler in node.handlers
                if handler.type
                for e in ast.walk(handler.type)
                if isinstance(e, ast.Name)
            }
            if "ValueError" in caught and not all(_ends_in_contract(handler.body, set()) for handler in node.handlers):
                reached = reach([tree], node.body, annotations=False)
                found |= reached.methods | {id(functions[name]) for name in reached.names & functions.keys()}
    return found


def _rewords(handler: ast.ExceptHandler, errors: set[str]) -> bool:
    """Whether all that is done about an ``OSError`` is to raise an error with another text."""
    only = handler.body[0] if len(handler.body) == 1 else None
    value = only.exc if isinstance(only, ast.Raise) else None
    is_ours = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in errors
    return is_ours and isinstance(handler.type, ast.Name) and handler.type.id == "OSError"


def _only_raises(function: ast.FunctionDef) -> bool:
    *_, last = function.body
    return len(function.body) == 1 and _ends_in_contract([last], set())


def _ends_in_contract(body: Sequence[ast.stmt], refusals: set[str]) -> bool:
    """Whether a block does nothing but raise an error that the code alone can cause."""
    if len(body) != 1:
        return False
    only = body[0]
    value = only.exc if isinstance(only, ast.Raise) else only.value if isinstance(only, ast.Expr) else None
    names = CONTRACTS if isinstance(only, ast.Raise) else refusals
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in names


def _unread(function: ast.FunctionDef) -> set[str]:
    """Locals that a function binds and never reads: what is left of a contract that was looked into beforehand."""
    names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
    shared = {name for node in ast.walk(function) if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    stored = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    return stored - {node.id for node in names if not isinstance(node.ctx, ast.Store)} - shared


def _without(
    node: ast.stmt, refusals: set[str], lookers: set[str], errors: set[str], unread: set[str]
) -> list[ast.stmt]:
    """A statement, or what is left of it."""
    if isinstance(node, ast.If) and _only_looks(node.test, lookers):
        *before, last = node.body
        if _ends_in_contract([last], refusals) and all(_is_look(each, lookers) for each in before):
            return node.orelse
    if isinstance(node, ast.Assign) and _is_look(node, lookers):
        bound = {leaf.id for target in node.targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
        return [] if bound <= unread else [node]
    if isinstance(node, ast.For) and not node.orelse and all(isinstance(each, ast.Pass) for each in node.body):
        return [] if _only_looks(node.iter, lookers) else [node]
    if isinstance(node, ast.Try):
        opens = not any(
            isinstance(e, ast.Attribute) and e.attr in _WRITES for part in node.body for e in ast.walk(part)
        )
        handlers = [
            each
            for each in node.handlers
            if not _ends_in_contract(each.body, refusals) and not (opens and _rewords(each, errors))
        ]
        if len(handlers) < len(node.handlers):
            node.handlers = handlers
            return [node] if handlers or node.finalbody else [*node.body, *node.orelse]
    return [node]


def _lookers(tree: ast.Module) -> set[str]:
    """Names of functions that bind a few locals and return what they see."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    found: set[str] = set()
    while new := {f.name for f in functions if all(_is_look(each, found) for each in f.body)} - found:
        found |= new
    return found


def _is_look(node: ast.stmt, lookers: set[str]) -> bool:
    if isinstance(node, ast.If):
        return _only_looks(node.test, lookers) and all(_is_look(each, lookers) for each in [*node.body, *node.orelse])
    if isinstance(node, ast.Assign):
        parts = [leaf for target in node.targets for leaf in ast.walk(target)]
        return not any(isinstance(e, ast.Attribute | ast.Subscript) for e in parts) and _only_looks(node.value, lookers)
    if isinstance(node, ast.Expr):
        return _only_looks(node.value, lookers)
    if isinstance(node, ast.Try):
        blocks = [node.body, node.orelse, node.finalbody, *(handler.body for handler in node.handlers)]
        return all(_is_look(each, lookers) for block in blocks for each in block)
    if isinstance(node, ast.Raise):
        return _ends_in_contract([node], set())
    return isinstance(node, ast.Return) and node.value is not None and _only_looks(node.value, lookers)


def _only_looks(test: ast.expr, lookers: set[str]) -> bool:
    """Whether an expression changes nothing: operators on names and fields, and calls of what is known to look only."""
    for node in ast.walk(test):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            if name not in _LOOK | lookers:
                return False
        elif isinstance(node, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return False
    return True


# ---- messages


class _Cut(ast.NodeTransformer):
    def __init__(self, errors: set[str]) -> None:
        self.errors = errors

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """A message, or a ``zip``."""
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id in self.errors and len(node.args) == 1:
            node.args = [first_clause(node.args[0])]
        elif isinstance(node.func, ast.Name) and node.func.id == "zip":
            node.keywords = [each for each in node.keywords if each.arg != "strict"]
        elif isinstance(node.func, ast.Name) and node.func.id == "dataclass":
            node.keywords = [each for each in node.keywords if each.arg not in ("frozen", "slots")]
        return node

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """An error without the one behind it."""
        self.generic_visit(node)
        node.cause = None
        return node


def first_clause(message: ast.expr) -> ast.expr:
    """A text up to its first comma, semicolon or bracket."""
    if isinstance(message, ast.Constant) and isinstance(message.value, str):
        return ast.Constant(_CLAUSE_ENDS.split(message.value)[0])
    if not isinstance(message, ast.JoinedStr):
        return message
    kept: list[ast.expr] = []
    for part in message.values:
        if isinstance(part, ast.Constant) and _CLAUSE_ENDS.search(str(part.value)):
            text = _CLAUSE_ENDS.split(str(part.value))[0]
            return ast.JoinedStr([*kept, ast.Constant(text)] if text else kept)
        kept.append(part)
    return message
