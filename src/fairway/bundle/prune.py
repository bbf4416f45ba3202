"""Definitions that nothing reachable names are dropped: functions, classes, constants, methods.

What is reachable is found from roots, body by body; a method is reached when its class is and some reached body
names an attribute so called, or when a foreign base class may call it.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from fairway.bundle.collect import defined_names
from fairway.bundle.edits import Source, docstring_of

_OWN_BASES = frozenset({"ABC", "NamedTuple", "Protocol", "Exception", "StrEnum"})
"""Foreign base classes that call no method of ours but those with underscores on both sides."""


@dataclass(slots=True)
class Reached:
    """Names of the top level, and names of attributes, that run."""

    names: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    methods: set[int] = field(default_factory=set)
    """``id`` of each function in a class that is kept."""


def reach(trees: Sequence[ast.Module], roots: Iterable[ast.AST], *, annotations: bool) -> Reached:
    """Follow names from ``roots`` through all definitions; ``annotations`` tells whether those count as uses."""
    homes: dict[str, list[ast.stmt]] = {}
    for tree in trees:
        for node in tree.body:
            for name in defined_names([node]):
                homes.setdefault(name, []).append(node)
    found = Reached()
    methods: list[tuple[ast.FunctionDef, bool]] = []
    seen: set[int] = set()
    waiting: list[ast.AST] = list(roots)
    while waiting:
        for used in _uses(waiting.pop(), annotations):
            if isinstance(used, ast.Attribute):
                found.attributes.add(used.attr)
            elif isinstance(used, ast.Name) and used.id in homes and used.id not in found.names:
                found.names.add(used.id)
                for home in homes[used.id]:
                    if id(home) in seen:
                        continue
                    seen.add(id(home))
                    if isinstance(home, ast.ClassDef):
                        free = _may_be_called_by_base(home, homes)
                        methods += [(each, free) for each in home.body if isinstance(each, ast.FunctionDef)]
                        waiting += [*home.bases, *home.keywords, *home.decorator_list]
                        waiting += [each for each in home.body if not isinstance(each, ast.FunctionDef)]
                    else:
                        waiting.append(home)
        if not waiting:
            for method, free in methods:
                if id(method) not in found.methods and _is_called(method, free, found.attributes):
                    found.methods.add(id(method))
                    waiting.append(method)
    return found


def _may_be_called_by_base(node: ast.ClassDef, homes: dict[str, list[ast.stmt]]) -> bool:
    names = [base.id if isinstance(base, ast.Name) else "" for base in node.bases]
    return any(name not in homes and name not in _OWN_BASES for name in names)


def _is_called(method: ast.FunctionDef, free: bool, attributes: set[str]) -> bool:
    name = method.name
    return name in attributes or name.startswith("__") or (free and not name.startswith("_"))


def _uses(node: ast.AST, annotations: bool) -> Iterator[ast.Name | ast.Attribute]:
    """Names and attributes that are read under a node; names in quoted annotations too."""
    if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load):
        yield node
    if isinstance(node, ast.Name | ast.Constant | ast.expr_context):
        return
    for name, value in ast.iter_fields(node):
        is_annotation = name in ("annotation", "returns")
        if is_annotation and not annotations:
            continue
        for child in value if isinstance(value, list) else [value]:
            if is_annotation and isinstance(child, ast.Constant) and isinstance(child.value, str):
                yield from _uses(ast.parse(child.value, mode="eval").body, annotations)
            elif isinstance(child, ast.AST):
                yield from _uses(child, annotations)


def prune(sources: Sequence[Source], roots: Iterable[ast.AST]) -> None:
    """Ask each source to drop what is not reached."""
    found = reach([source.tree for source in sources], roots, annotations=True)
    for source in sources:
        body = source.tree.body
        gone: list[ast.stmt] = []
        for place, node in enumerate(body):
            names = defined_names([node])
            if names and not found.names & set(names):
                gone += (
                    [node, *filter(None, [docstring_of(body, place)])]
                    if isinstance(node, ast.Assign | ast.AnnAssign)
                    else [node]
                )
            elif isinstance(node, ast.ClassDef):
                dead = [
                    each for each in node.body if isinstance(each, ast.FunctionDef) and id(each) not in found.methods
                ]
                if dead:
                    source.remove(dead, node.body)
        source.remove(gone, body)


def drop_unreached(tree: ast.Module, *, annotations: bool) -> None:
    """Take definitions and imports that nothing names out of a whole program."""
    defined = (ast.FunctionDef, ast.ClassDef, ast.Assign, ast.Import, ast.ImportFrom)
    roots = [node for node in tree.body if not isinstance(node, defined)]
    found = reach([tree], roots, annotations=annotations)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    body: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name not in found.names:
            continue
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            if node.targets[0].id not in found.names:
                continue
        if isinstance(node, ast.ClassDef):
            kept = [e for e in node.body if not isinstance(e, ast.FunctionDef) or id(e) in found.methods]
            node.body = kept or [ast.Pass()]
        body.append(node)
    tree.body = body
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    for node in list(tree.body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            node.names = [a for a in node.names if (a.asname or a.name.split(".")[0]) in used]
            if not node.names:
                tree.body.remove(node)
