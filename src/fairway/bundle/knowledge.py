"""What a recipe settles beforehand: which classes occur, which fields are constants, hence which tests are decided.

The reasoning is by types, which annotations give: a parameter ``spec: TrainSpec`` is one, ``run.recipe.train`` leads
to one, ``self._spec = spec`` hands one on. The recipe holds few objects of each class; where all that it holds agree
on a field, the field is a constant. A member of a union that neither the recipe holds nor the program makes does not
occur, and a test that asks for it is false. What is not understood is left alone.
"""

import ast
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from functools import lru_cache
from typing import Any

from fairway.spec.recipe import Recipe

Types = frozenset[str] | None
"""Names of classes that a value may have, ``None`` for the constant among them; None where it is not known."""

Function = ast.FunctionDef | ast.Lambda

_OTHER = "object"
COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
"""Those whose result constants settle."""


@dataclass(frozen=True, slots=True)
class Known:
    """A value that is known before the program runs."""

    value: Any


@dataclass(slots=True, eq=False)
class Scope:
    """Names of one function: their annotations, and what they are bound to where that happens once."""

    annotations: dict[str, ast.expr] = field(default_factory=dict)
    values: dict[str, ast.expr | None] = field(default_factory=dict)
    items: dict[str, ast.expr] = field(default_factory=dict)
    """Loop variables to what they run over."""
    contexts: dict[str, ast.expr] = field(default_factory=dict)
    """Names behind ``with ... as`` to what is entered."""
    owner: str | None = None
    """The class whose method this is."""
    outer: "Scope | None" = None

    def find(self, name: str) -> "Scope | None":
        """The innermost scope that binds a name."""
        if name in self.values:
            return self
        return None if self.outer is None else self.outer.find(name)


@lru_cache(maxsize=4096)
def scope_of(function: Function, owner: str | None, outer: Scope | None) -> Scope:
    """Names that a function binds, not those of functions inside it."""
    scope = Scope(owner=owner, outer=outer)
    bound: list[tuple[str, ast.expr | None]] = []
    arguments = function.args
    for arg in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if arg is not None:
            bound.append((arg.arg, None))
            if arg.annotation is not None and arg not in (arguments.vararg, arguments.kwarg):
                scope.annotations[arg.arg] = arg.annotation
    body = [function.body] if isinstance(function, ast.Lambda) else function.body
    for node in _own_nodes(body):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            bound += _paired(node.targets[0], node.value)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            bound.append((node.target.id, None))
            scope.annotations[node.target.id] = node.annotation
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            bound.append((node.name, None))
        elif isinstance(node, ast.For | ast.comprehension) and isinstance(node.target, ast.Name):
            bound.append((node.target.id, None))
            scope.items[node.target.id] = node.iter
        elif isinstance(node, ast.withitem) and isinstance(node.optional_vars, ast.Name):
            bound.append((node.optional_vars.id, None))
            scope.contexts[node.optional_vars.id] = node.context_expr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.append((node.id, None))
        elif isinstance(node, ast.Nonlocal | ast.Global):
            bound += [(name, None) for name in node.names]
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.append((node.name, None))
        elif isinstance(node, ast.MatchAs | ast.MatchStar) and node.name:
            bound.append((node.name, None))
    paired = {id(name) for node in _own_nodes(body) for name in _plain_targets(node)}
    names = [name for name, value in bound if value is not None]
    stores = [
        node.id
        for node in _own_nodes(body)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in paired
    ]
    for name, value in bound:
        scope.values.setdefault(name, None)
        if value is not None and names.count(name) == 1 and name not in stores and name not in scope.annotations:
            scope.values[name] = value
    parameters = {arg.arg for arg in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    for name in parameters & {*names, *stores}:  # bound again inside: neither annotation nor value holds
        scope.annotations.pop(name, None)
        scope.values[name] = None
    for table in (scope.items, scope.contexts):
        for name in list(table):
            if stores.count(name) > 1:
                del table[name]
    inner = [name for node in ast.walk(function) if isinstance(node, ast.Nonlocal | ast.Global) for name in node.names]
    for name in inner:  # a function inside may bind it anew
        if name in scope.values:
            scope.values[name] = None
            scope.annotations.pop(name, None)
            scope.items.pop(name, None)
            scope.contexts.pop(name, None)
    return scope


def _own_nodes(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Nodes of a function's body, without what lies inside functions and classes defined there."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            yield from _own_nodes(list(ast.iter_child_nodes(node)))


def _plain_targets(node: ast.AST) -> Iterator[ast.Name]:
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target = node.targets[0]
        if isinstance(target, ast.Name):
            yield target
        elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            if len(target.elts) == len(node.value.elts):
                yield from (each for each in target.elts if isinstance(each, ast.Name))


def _paired(target: ast.expr, value: ast.expr) -> list[tuple[str, ast.expr | None]]:
    if isinstance(target, ast.Name):
        return [(target.id, value)]
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return [pair for each, part in zip(target.elts, value.elts, strict=True) for pair in _paired(each, part)]
    return []


class Knowledge:
    """Types and constants of one program under one recipe."""

    def __init__(self, trees: Sequence[ast.Module], recipe: Recipe, changed: frozenset[str] = frozenset()) -> None:
        """``changed`` names fields that the program may replace."""
        self.defs: dict[str, ast.stmt] = {}
        for tree in trees:
            for node in tree.body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    self.defs[node.name] = node
                elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                    self.defs[node.targets[0].id] = node
        self.instances: dict[str, list[Any]] = {}
        _gather(recipe, self.instances)
        spec_classes = _spec_classes()
        self.specs = {name for name, node in self.defs.items() if isinstance(node, ast.ClassDef)} & spec_classes
        self.made = {
            node.func.id
            for tree in trees
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in self.specs
        }
        self.absent = self.specs - self.instances.keys() - self.made
        self._changed = changed
        self.given: dict[int, frozenset[str]] = {}
        """Annotation of a parameter (by ``id``) to what all calls together pass, where that is known better."""
        self._attributes: dict[str, dict[str, tuple[ast.expr, Scope | None, bool]]] = {}
        for name, node in self.defs.items():
            if isinstance(node, ast.ClassDef):
                self._attributes[name] = _attributes_of(node)

    # ---- types

    def types(self, expression: ast.expr, scope: Scope | None) -> Types:
        """Classes that an expression's value may have."""
        found = self._types(expression, scope)
        return None if found is None else found - self.absent

    def _types(self, node: ast.expr, scope: Scope | None) -> Types:
        if isinstance(node, ast.Constant):
            return frozenset({"None" if node.value is None else _OTHER})
        if isinstance(node, ast.Name):
            return self._name_types(node.id, scope)
        if isinstance(node, ast.Attribute):
            owners = self.types(node.value, scope)
            return None if owners is None else self._union([self._field_types(each, node.attr) for each in owners])
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and (scope is None or not scope.find(node.func.id))
        ):
            definition = self.defs.get(node.func.id)
            if isinstance(definition, ast.ClassDef):
                return frozenset({definition.name})
            if isinstance(definition, ast.FunctionDef):
                return self.annotated(definition.returns)
        if isinstance(node, ast.IfExp):
            return self._union([self.types(node.body, scope), self.types(node.orelse, scope)])
        return None

    def _name_types(self, name: str, scope: Scope | None) -> Types:
        here = None if scope is None else scope.find(name)
        if here is None:
            return None
        if name == "self" and here.owner is not None:
            return frozenset({here.owner})
        if name in here.annotations:
            given = self.given.get(id(here.annotations[name]))
            return self.annotated(here.annotations[name]) if given is None else given
        value = here.values[name]
        if value is not None:
            return self.types(value, here)
        if name in here.items:
            return self._item_types(here.items[name], here)
        if name in here.contexts:
            return self._entered_types(here.contexts[name], here)
        return None

    def _item_types(self, iterable: ast.expr, scope: Scope) -> Types:
        if isinstance(iterable, ast.Tuple | ast.List):
            return self._union([self.types(each, scope) for each in iterable.elts])
        if isinstance(iterable, ast.Name) and (here := scope.find(iterable.id)) and iterable.id in here.annotations:
            annotation = here.annotations[iterable.id]
            if isinstance(annotation, ast.Subscript) and not isinstance(annotation.slice, ast.Tuple):
                return self.annotated(annotation.slice)
        return None

    def _entered_types(self, context: ast.expr, scope: Scope) -> Types:
        """What ``with`` binds: an object that enters as itself, or what a ``contextmanager`` yields."""
        if isinstance(context, ast.Call) and isinstance(context.func, ast.Name):
            definition = self.defs.get(context.func.id)
            if isinstance(definition, ast.ClassDef):
                enters = [e for e in definition.body if isinstance(e, ast.FunctionDef) and e.name == "__enter__"]
                return self.annotated(enters[0].returns) if enters else None
            if isinstance(definition, ast.FunctionDef) and isinstance(definition.returns, ast.Subscript):
                return self.annotated(definition.returns.slice)
        return None

    def _union(self, parts: Sequence[Types]) -> Types:
        found: frozenset[str] = frozenset()
        for part in parts:
            if part is None:
                return None
            found |= part
        return found

    def _field_types(self, owner: str, name: str) -> Types:
        if owner in self.specs and self._is_settled(owner, name):
            values = [getattr(each, name) for each in self.instances[owner]]
            return frozenset("None" if v is None else type(v).__name__ if is_dataclass(v) else _OTHER for v in values)
        found = self._attributes.get(owner, {}).get(name)
        if found is None:
            return None
        expression, scope, is_annotation = found
        return self.annotated(expression) if is_annotation else self.types(expression, scope)

    def annotated(self, annotation: ast.expr | None) -> Types:
        """Classes that an annotation allows; None for one that names no class of ours."""
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            return self.annotated(ast.parse(annotation.value, mode="eval").body)
        if isinstance(annotation, ast.Constant) and annotation.value is None:
            return frozenset({"None"})
        if isinstance(annotation, ast.BinOp) and isinstance(annotation.op, ast.BitOr):
            return self._union([self.annotated(annotation.left), self.annotated(annotation.right)])
        if isinstance(annotation, ast.Name):
            definition = self.defs.get(annotation.id)
            if isinstance(definition, ast.ClassDef):
                return frozenset({annotation.id})
            if isinstance(definition, ast.Assign):
                return self.annotated(definition.value)
        return None

    # ---- constants

    def _is_settled(self, owner: str, name: str) -> bool:
        """Whether every object of a class comes from the recipe, and this field of it with it."""
        return (
            owner in self.instances
            and owner not in self.made
            and name not in self._changed
            and all(name in {each.name for each in fields(one)} for one in self.instances[owner])
        )

    def known(self, node: ast.expr, scope: Scope | None) -> Known | None:
        """The value of an expression, if the recipe settles it."""
        if isinstance(node, ast.Constant):
            return Known(node.value)
        if isinstance(node, ast.Attribute):
            return self._known_field(node, scope)
        if isinstance(node, ast.Name):
            here = None if scope is None else scope.find(node.id)
            value = None if here is None else here.values[node.id]
            return None if value is None else self.known(value, here)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            inner = self.known(node.operand, scope)
            return None if inner is None else Known(not inner.value)
        if isinstance(node, ast.BoolOp):
            return self._known_bool(node, scope)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._known_comparison(node, scope)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance":
            return self._known_instance(node, scope)
        if isinstance(node, ast.IfExp) and (test := self.known(node.test, scope)) is not None:
            return self.known(node.body if test.value else node.orelse, scope)
        return None

    def _known_field(self, node: ast.Attribute, scope: Scope | None) -> Known | None:
        owners = self.types(node.value, scope)
        if not owners or not all(self._is_settled(owner, node.attr) for owner in owners if owner != "None"):
            return None
        values = [getattr(each, node.attr) for owner in owners if owner != "None" for each in self.instances[owner]]
        plain = all(value is None or isinstance(value, bool | int | float | str) for value in values)
        return Known(values[0]) if plain and values and all(value == values[0] for value in values) else None

    def _known_bool(self, node: ast.BoolOp, scope: Scope | None) -> Known | None:
        ends = isinstance(node.op, ast.Or)
        all_known = True
        for value in node.values:
            result = self.known(value, scope)
            if result is not None and bool(result.value) == ends:
                return Known(ends)
            if result is None and not is_pure(value):
                return None
            all_known = all_known and result is not None
        return Known(not ends) if all_known else None

    def _known_comparison(self, node: ast.Compare, scope: Scope | None) -> Known | None:
        compare, right = type(node.ops[0]), node.comparators[0]
        a, b = self.known(node.left, scope), self.known(right, scope)
        if a is not None and b is not None and compare in COMPARISONS:
            return Known(COMPARISONS[compare](a.value, b.value))
        if compare in (ast.Is, ast.IsNot) and isinstance(right, ast.Constant) and right.value is None:
            types = self.types(node.left, scope)
            if types is not None and types and ("None" not in types or types == {"None"}):
                return Known((types == {"None"}) == (compare is ast.Is))
        return None

    def _known_instance(self, node: ast.Call, scope: Scope | None) -> Known | None:
        types = self.types(node.args[0], scope)
        asked = {each.id for each in ast.walk(node.args[1]) if isinstance(each, ast.Name)}
        if asked <= self.absent and asked:
            return Known(False)
        if (
            types is None
            or not types
            or _OTHER in types
            # a name may stand for classes that are listed elsewhere
            or not all(isinstance(self.defs.get(name), ast.ClassDef) for name in asked)
            or not types <= self.specs | {"None"}
        ):
            return None
        if types <= asked:
            return Known(True)
        return None if types & asked else Known(False)


def is_pure(node: ast.expr) -> bool:
    """Whether evaluating does nothing else: names, fields, constants, comparisons of them, containers of them."""
    allowed = (
        *(ast.Name, ast.Attribute, ast.Constant, ast.Compare, ast.BoolOp, ast.UnaryOp, ast.IfExp),
        *(ast.Tuple, ast.List, ast.Set, ast.Dict),
        *(ast.expr_context, ast.cmpop, ast.boolop, ast.unaryop),
    )
    for each in ast.walk(node):
        if isinstance(each, ast.Call) and isinstance(each.func, ast.Name) and each.func.id in ("isinstance", "len"):
            continue
        if not isinstance(each, allowed):
            return False
    return True


def _gather(value: Any, found: dict[str, list[Any]]) -> None:
    if is_dataclass(value) and not isinstance(value, type):
        found.setdefault(type(value).__name__, []).append(value)
        for each in fields(value):
            _gather(getattr(value, each.name), found)


def _spec_classes() -> set[str]:
    """Names of every class that a recipe may hold."""
    found: set[str] = set()
    waiting: list[Any] = [Recipe]
    while waiting:
        kind = waiting.pop()
        if is_dataclass(kind) and isinstance(kind, type):
            if kind.__name__ not in found:
                found.add(kind.__name__)
                waiting += [each.type for each in fields(kind)]
        else:
            waiting += getattr(kind, "__args__", ())
    return found


def _attributes_of(node: ast.ClassDef) -> dict[str, tuple[ast.expr, Scope | None, bool]]:
    """Attribute to its annotation, or to the expression that ``__init__`` sets it to."""
    found: dict[str, tuple[ast.expr, Scope | None, bool]] = {}
    set_outside: set[str] = set()
    for each in node.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            found[each.target.id] = (each.annotation, None, True)
        elif isinstance(each, ast.FunctionDef):
            if any(isinstance(one, ast.Name) and one.id == "property" for one in each.decorator_list):
                if each.returns is not None:
                    found[each.name] = (each.returns, None, True)
            scope = scope_of(each, node.name, None)
            for inner in ast.walk(each):
                targets = inner.targets if isinstance(inner, ast.Assign) else []
                if isinstance(inner, ast.AnnAssign) and _is_self(inner.target):
                    assert isinstance(inner.target, ast.Attribute)
                    found[inner.target.attr] = (inner.annotation, None, True)
                for target in targets:
                    for leaf in ast.walk(target):
                        if isinstance(leaf, ast.Attribute) and _is_self(leaf):
                            if each.name == "__init__" and leaf is target and isinstance(inner, ast.Assign):
                                found.setdefault(leaf.attr, (inner.value, scope, False))
                            else:
                                set_outside.add(leaf.attr)
    return {name: entry for name, entry in found.items() if entry[2] or name not in set_outside}


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


def replaced_fields(trees: Sequence[ast.Module]) -> frozenset[str]:
    """Fields that the program sets anew by ``dataclasses.replace``."""
    return frozenset(
        keyword.arg
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "replace"
        for keyword in node.keywords
        if keyword.arg is not None
    )


@lru_cache(maxsize=256)
def scoped(tree: ast.AST) -> tuple[tuple[ast.AST, Scope | None], ...]:
    """Every node under a tree with the function it stands in; outer nodes first."""
    return tuple(_scoped(tree, None, None))


def _scoped(node: ast.AST, scope: Scope | None, owner: str | None) -> Iterator[tuple[ast.AST, Scope | None]]:
    for child in ast.iter_child_nodes(node):
        yield child, scope
        if isinstance(child, ast.FunctionDef | ast.Lambda):
            yield from _scoped(child, scope_of(child, owner, scope), None)
        elif isinstance(child, ast.ClassDef):
            yield from _scoped(child, scope, child.name)
        else:
            yield from _scoped(child, scope, None)
