"""Whether two texts are the same program but for what a minifier may take away. Neither is run.

Both are parsed and stripped of what does not act (docstrings and other bare constants, annotations, assertions,
``pass``), and the names that they bind themselves are numbered in the order in which they occur: those of the module,
and those of each function, lambda and comprehension. Attributes, keywords, names of imported modules and built-ins stay
as they are. What is left must be equal, node for node.
"""

import ast
import warnings
from collections.abc import Iterable, Iterator
from typing import Literal

Likeness = Literal["text", "program"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def likeness(first: str, second: str) -> Likeness | None:
    """``text`` where the two are equal byte for byte, ``program`` where they are node for node, else None."""
    if first == second:
        return "text"
    try:
        return "program" if _bare(first) == _bare(second) else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _bare(text: str) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tree = ast.parse(text)
    return list(_written(_stripped(tree), _Scope(None, _bound(tree.body), is_class=False)))


# ---- what does not act


def _stripped(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        for field, value in ast.iter_fields(node):
            if isinstance(value, list) and (field in ("body", "orelse", "finalbody")):
                setattr(node, field, _acting(value))
    return tree


def _acting(body: list[ast.stmt]) -> list[ast.stmt]:
    kept: list[ast.stmt] = []
    for node in body:
        if isinstance(node, ast.Assert | ast.Pass) or (
            isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ):
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            kept += [_import_of(node, alias) for alias in node.names]
        else:
            kept.append(node)
    return kept


def _import_of(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> ast.stmt:
    """One name at a time: a minifier may write several on one line."""
    if isinstance(node, ast.Import):
        return ast.Import([alias])
    return ast.ImportFrom(node.module, [alias], node.level)


# ---- names


class _Scope:
    """Names that one scope binds, numbered as they come; a class binds attributes, which keep their names."""

    def __init__(self, outer: "_Scope | None", bound: frozenset[str], *, is_class: bool) -> None:
        self.outer = outer
        self.bound = bound
        self.is_class = is_class
        self.numbers: dict[str, int] = {}
        self.depth: int = 0 if outer is None else outer.depth + 1

    def of(self, name: str) -> str:
        """What a name is called in every text of the same program."""
        if name in self.bound:
            return name if self.is_class else f"{self.depth}.{self.numbers.setdefault(name, len(self.numbers))}"
        scope = self.outer
        while scope is not None and (scope.is_class or name not in scope.bound):
            scope = scope.outer
        return name if scope is None else scope.of(name)


def _bound(body: Iterable[ast.AST]) -> frozenset[str]:
    """Names that statements or expressions bind in their own scope, inner scopes left out."""
    found: set[str] = set()
    free: set[str] = set()
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.alias(name=name, asname=asname):
                found.add(asname or name.partition(".")[0])
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                found.add(name)
            case ast.MatchMapping(rest=str(name)):
                found.add(name)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                free.update(names)
        waiting += _inside(node)
    return frozenset(found - free)


def _inside(node: ast.AST) -> Iterator[ast.AST]:
    """Children of a node that belong to the same scope as the node."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield from [*node.decorator_list, *_defaults(node.args)]
    elif isinstance(node, ast.Lambda):
        yield from _defaults(node.args)
    elif isinstance(node, ast.ClassDef):
        yield from [*node.decorator_list, *node.bases, *node.keywords]
    elif isinstance(node, _Comprehension):
        # Only the first iterable is looked up outside; := binds outside, wherever it stands.
        yield node.generators[0].iter
        yield from (part.target for part in ast.walk(node) if isinstance(part, ast.NamedExpr))
    else:
        yield from ast.iter_child_nodes(node)


def _defaults(arguments: ast.arguments) -> list[ast.expr]:
    return [*arguments.defaults, *(default for default in arguments.kw_defaults if default is not None)]


def _parameters(arguments: ast.arguments) -> list[ast.arg]:
    every = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
    return [argument for argument in every if argument is not None]


# ---- one way of writing


def _written(node: ast.AST, scope: _Scope) -> Iterator[str]:
    """A tree as a list of words in which equal programs agree."""
    if isinstance(node, ast.AnnAssign) and not scope.is_class:
        # The annotation of a variable does not act. That of a field does, by being there: it makes the field.
        if node.value is not None:
            yield from _written(ast.Assign([node.target], node.value), scope)
        return
    yield type(node).__name__
    match node:
        case ast.Name(id=name):
            yield scope.of(name)
        case ast.Constant(value=value):
            yield f"{type(value).__name__} {value!r}"
        case ast.alias(name=name, asname=asname):
            yield name
            yield scope.of(asname or name.partition(".")[0])
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            yield from _function(node, scope)
        case ast.ClassDef():
            yield scope.of(node.name)
            yield from _all([*node.decorator_list, *node.bases, *node.keywords], scope)
            yield from _all(node.body, _Scope(scope, _bound(node.body), is_class=True))
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            yield from _comprehension(node, scope)
        case ast.AnnAssign(target=target, value=value):
            yield from _all([target, *([] if value is None else [value])], scope)
        case _:
            yield from _fields(node, scope)


def _all(nodes: Iterable[ast.AST], scope: _Scope) -> Iterator[str]:
    for node in nodes:
        yield from _written(node, scope)
    yield "."


def _fields(node: ast.AST, scope: _Scope) -> Iterator[str]:
    binds = isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.MatchMapping)
    names = isinstance(node, ast.Global | ast.Nonlocal)
    for field, value in ast.iter_fields(node):
        if isinstance(value, ast.AST):
            yield from _written(value, scope)
        elif isinstance(value, list) and not names:
            yield from _all((item for item in value if isinstance(item, ast.AST)), scope)
            yield from (f"{item}" for item in value if not isinstance(item, ast.AST))
        elif isinstance(value, list):
            yield from sorted(scope.of(name) for name in value)
        elif binds and field in ("name", "rest") and value is not None:
            yield scope.of(value)
        elif field not in ("type_comment", "ctx", "kind"):
            yield f"{field} {value!r}"


def _function(node: _Function, scope: _Scope) -> Iterator[str]:
    body = [node.body] if isinstance(node, ast.Lambda) else node.body
    parameters = _parameters(node.args)
    inner = _Scope(scope, _bound(body) | {argument.arg for argument in parameters}, is_class=False)
    if not isinstance(node, ast.Lambda):
        yield scope.of(node.name)
        yield from _all(node.decorator_list, scope)
    yield from _all(_defaults(node.args), scope)
    counts = (node.args.posonlyargs, node.args.args, node.args.kwonlyargs)
    yield " ".join(str(len(part)) for part in counts)
    yield f"{node.args.vararg is not None} {node.args.kwarg is not None}"
    yield " ".join(str(default is None) for default in node.args.kw_defaults)
    yield from (inner.of(argument.arg) for argument in parameters)
    # What may be given by keyword is part of how the function is called.
    yield from (argument.arg for argument in node.args.kwonlyargs)
    yield from _all(body, inner)


def _comprehension(node: _Comprehension, scope: _Scope) -> Iterator[str]:
    first, *others = node.generators
    targets = _bound([generator.target for generator in node.generators])
    inner = _Scope(scope, targets, is_class=False)
    yield from _written(first.iter, scope)
    yield from _all([first.target, *first.ifs], inner)
    yield str(first.is_async)
    for generator in others:
        yield from _all([generator.target, generator.iter, *generator.ifs], inner)
        yield str(generator.is_async)
    yield from _all([node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt], inner)
