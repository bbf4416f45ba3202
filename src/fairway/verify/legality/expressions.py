"""Small questions to Python expressions."""

import ast
from collections.abc import Iterator
from functools import lru_cache

Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
MOST_PARTS = 20
MOST_DEPTH = 50
MOST = 1e18
"""No number of tokens, documents or bytes is as large."""
_WRAPPERS = frozenset(
    "astype to long int float double view reshape copy numpy cpu cuda contiguous ravel flatten item clone detach "
    "unsqueeze squeeze type".split()
)
_CASTS = frozenset("int float bool abs int64 uint64 int32 uint32 intp asarray array ascontiguousarray list".split())


@lru_cache(maxsize=64)
def scopes(tree: ast.Module) -> tuple[tuple[Scope, tuple[ast.AST, ...]], ...]:
    """Every function of a program and the program itself, each with the nodes that are its own, in textual order."""
    found: list[tuple[Scope, tuple[ast.AST, ...]]] = []
    waiting: list[Scope] = [tree]
    while waiting:
        scope = waiting.pop()
        own: list[ast.AST] = []
        stack: list[ast.AST] = list(reversed(list(ast.iter_child_nodes(scope))))
        while stack:
            node = stack.pop()
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                waiting.append(node)
                continue
            own.append(node)
            stack.extend(reversed(list(ast.iter_child_nodes(node))))
        found.append((scope, tuple(own)))
    return tuple(found)


def bare(node: ast.expr) -> ast.expr:
    """An expression without the casts and changes of shape around it."""
    while True:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _WRAPPERS:
            node = node.func.value
        elif isinstance(node, ast.Call) and len(node.args) >= 1 and name_of(node.func) in _CASTS:
            node = node.args[0]
        else:
            return node


def name_of(node: ast.AST) -> str:
    """The last part of a name or attribute: ``np.add.at`` is ``at``; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def path_of(node: ast.AST) -> str:
    """The whole of a name or attribute, ``np.add.at``; empty for anything else, and for what is too long to be one."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute) and len(parts) < MOST_PARTS:
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def names_in(node: ast.AST) -> frozenset[str]:
    """Names and attribute paths that an expression reads."""
    found = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            found.add(part.id)
        elif isinstance(part, ast.Attribute):
            path = path_of(part)
            if path:
                found.add(path)
    return frozenset(found)


def assignments(nodes: tuple[ast.AST, ...]) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Target and value of every plain assignment, tuples taken apart where both sides are."""
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    yield from zip(target.elts, node.value.elts, strict=False)
                else:
                    yield target, node.value
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value is not None:
            yield node.target, node.value


def is_number(node: ast.AST, *values: int) -> bool:
    """Whether an expression is a number, and one of ``values`` where some are given."""
    if not isinstance(node, ast.Constant) or isinstance(node.value, bool):
        return False
    return isinstance(node.value, int | float) and (not values or node.value in values)


def number(node: ast.AST, depth: int = 0) -> float | None:
    """The number that an expression of constants is worth; None where it is no such expression, or no such number."""
    if depth > MOST_DEPTH:
        return None
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        return float(node.value) if abs(node.value) < MOST else None
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = number(node.operand, depth + 1)
        return None if value is None else -value
    if not isinstance(node, ast.BinOp):
        return None
    left, right = number(node.left, depth + 1), number(node.right, depth + 1)
    if left is None or right is None:
        return None
    value = None
    if isinstance(node.op, ast.Mult):
        value = left * right
    elif isinstance(node.op, ast.Add):
        value = left + right
    elif isinstance(node.op, ast.Div | ast.FloorDiv) and right:
        value = left / right
    elif isinstance(node.op, ast.Pow) and 0 < left <= 1024 and 0 <= right <= 32:
        value = left**right
    elif isinstance(node.op, ast.LShift) and 0 <= right <= 64:
        value = left * 2.0**right
    return value if value is not None and abs(value) < MOST else None


def default_of(node: ast.expr) -> float | None:
    """The number that ``int(os.environ.get("NAME", 3))`` or a plain number is when nothing is set; None otherwise."""
    inner = bare(node)
    if isinstance(inner, ast.Call) and name_of(inner.func) in ("get", "getenv", "getattr") and inner.args:
        return _as_number(inner.args[-1])
    return _as_number(inner)


def _as_number(node: ast.expr) -> float | None:
    value = number(node)
    if value is None and isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            value = float(node.value.replace("_", ""))
        except ValueError:
            return None
        return value if abs(value) < MOST else None
    return value
