"""What a compiler would do and a reader would not like: the recipe's numbers in the place of its fields.

The minified form needs no names for what never varies. Fields that the recipe settles become constants, and so do
parameters that every call gives the same; what is then never read - parameters, fields, attributes, locals - is
dropped, tests are decided again, and calls of our own functions lose their keywords. All of it follows from types and
from calls that are known in full; where a function is handed on as a value, or a call unpacks, nothing is touched.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairway.bundle.knowledge import COMPARISONS, Knowledge, Known, is_pure, replaced_fields, scoped
from fairway.bundle.names import SHARED, own_names, strings
from fairway.bundle.prune import drop_unreached
from fairway.spec.recipe import Recipe

_CALLED_FROM_OUTSIDE = frozenset({"forward", "backward", "error", "__enter__", "__exit__", "__iter__", "__next__"})
_RECIPE = "RECIPE"
_FEW = 12
"""Characters that a constant may take in all its places together."""


def optimised(tree: ast.Module, recipe: Recipe, written_out: frozenset[str]) -> ast.Module:
    """The same program with constants in it; ``written_out`` are fields that files know by name. Changes ``tree``."""
    before = ""
    while (now := ast.unparse(tree)) != before:
        before = now
        tree = ast.parse(now)  # fresh nodes: what is cached by node is forgotten
        _put_constants(tree, recipe)
        tree = _Fold().visit(tree)
        calls = Calls(tree)
        _skip_identities(tree, calls)
        _settle_parameters(tree, calls)
        _settle_attributes(tree, Calls(tree), written_out)
        _settle_globals(tree)
        _drop_unread(tree, calls, written_out)
        ast.fix_missing_locations(tree)
        drop_unreached(tree, annotations=True)
    return tree


def positional(tree: ast.Module) -> None:
    """Give our own functions and classes their arguments by position, where every call is known."""
    calls = Calls(tree)
    for own in calls.functions():
        _to_positions(own)
    for kind in calls.classes():
        _fields_to_positions(kind)
    _bare_decorators(tree)
    _forget_parameter_names(tree)


# ---- constants of the recipe


def _put_constants(tree: ast.Module, recipe: Recipe) -> None:
    body = [node for node in tree.body if not is_recipe(node)]
    program = ast.Module(body, [])
    knowledge = Knowledge([program], recipe, replaced_fields([program]))
    _refine(knowledge, tree, Calls(tree))
    found: dict[int, ast.expr] = {}
    for node, scope in scoped(program):
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            known = knowledge.known(node, scope)
        elif isinstance(node, ast.Compare | ast.BoolOp) or (isinstance(node, ast.Call) and _is_test(node)):
            known = knowledge.known(node, scope)
        else:
            continue
        if known is not None and _is_plain(known.value):
            found[id(node)] = ast.Constant(known.value)
    top = {name for node in tree.body for name in bound_at_top(node)}
    for node, scope in scoped(program):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in found and scope:
            home = scope.find(node.id)
            value = None if home is None else home.values[node.id]
            if isinstance(value, ast.Name) and value.id in top and scope.find(value.id) is None:
                found[id(node)] = ast.Name(value.id, ast.Load())
    _Replace(found).visit(tree)


def is_recipe(node: ast.stmt) -> bool:
    """Whether a statement is the recipe's literal."""
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == _RECIPE


def _is_test(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == "isinstance"


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


class _Replace(ast.NodeTransformer):
    def __init__(self, found: dict[int, ast.expr]) -> None:
        self.found = found

    def visit(self, node: ast.AST) -> Any:
        """Put a constant in the place of a node that has one."""
        constant = self.found.get(id(node))
        if constant is not None:
            return ast.copy_location(constant, node)
        for name in ("annotation", "returns"):
            kept = getattr(node, name, None)
            if kept is not None:
                setattr(node, name, None)
                seen = self.generic_visit(node)
                setattr(seen, name, kept)
                return seen
        return self.generic_visit(node)


class _Fold(ast.NodeTransformer):
    """Branches that constants decide."""

    def visit_If(self, node: ast.If) -> Any:
        """One branch, where the test is a constant."""
        self.generic_visit(node)
        known = _constant(node.test)
        if known is None:
            return node
        return (node.body if known.value else node.orelse) or None

    def visit_IfExp(self, node: ast.IfExp) -> Any:
        """One side, where the test is a constant."""
        self.generic_visit(node)
        known = _constant(node.test)
        if known is None:
            return node
        return node.body if known.value else node.orelse

    def visit_UnaryOp(self, node: ast.UnaryOp) -> Any:
        """The contrary of a constant."""
        self.generic_visit(node)
        known = _constant(node.operand)
        return ast.Constant(not known.value) if known is not None and isinstance(node.op, ast.Not) else node

    def visit_BoolOp(self, node: ast.BoolOp) -> Any:
        """Without operands that decide nothing; up to the one that decides all."""
        self.generic_visit(node)
        ends = isinstance(node.op, ast.Or)
        kept: list[ast.expr] = []
        for place, value in enumerate(node.values):
            known = _constant(value)
            if known is not None and bool(known.value) == ends:
                kept.append(value)
                break
            if known is None or place == len(node.values) - 1:
                kept.append(value)
        if len(kept) == 1:
            return kept[0]
        last = _constant(kept[-1])
        if last is not None and bool(last.value) == ends and all(map(is_pure, kept)):
            return kept[-1]
        node.values = kept
        return node

    def visit_Compare(self, node: ast.Compare) -> Any:
        """What a comparison of constants says."""
        self.generic_visit(node)
        left, right, compare = _constant(node.left), _constant(node.comparators[0]), type(node.ops[0])
        if len(node.ops) == 1 and left is not None and right is not None and compare in COMPARISONS:
            return ast.Constant(COMPARISONS[compare](left.value, right.value))
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        """Text, where a value in it is constant."""
        self.generic_visit(node)
        values: list[ast.expr] = []
        for value in node.values:
            if isinstance(value, ast.FormattedValue) and value.conversion == -1 and value.format_spec is None:
                known = _constant(value.value)
                if known is not None:
                    value = ast.Constant(f"{known.value}")
            before = values[-1] if values else None
            if isinstance(value, ast.Constant) and isinstance(before, ast.Constant):
                values[-1] = ast.Constant(str(before.value) + str(value.value))
            else:
                values.append(value)
        node.values = values
        if all(isinstance(value, ast.Constant) for value in values):
            return ast.Constant("".join(str(value.value) for value in values if isinstance(value, ast.Constant)))
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """Statements up to the end of each block."""
        self.generic_visit(node)
        for each in ast.walk(node):
            for name in ("body", "orelse", "finalbody"):
                block = getattr(each, name, None)
                if isinstance(block, list):
                    for place, statement in enumerate(block):
                        if isinstance(statement, ast.Return | ast.Raise | ast.Continue | ast.Break):
                            del block[place + 1 :]
                            break
                    if name == "body" and not block:
                        block.append(ast.Pass())
        return node


def _constant(node: ast.expr) -> Known | None:
    return Known(node.value) if isinstance(node, ast.Constant) and _is_plain(node.value) else None


# ---- who calls whom


@dataclass(slots=True)
class Own:
    """One of our functions with every call of it."""

    function: ast.FunctionDef
    calls: list[ast.Call]
    bound: int
    """Leading parameters that a call does not name: 1 for methods."""

    def parameters(self) -> list[ast.arg]:
        """Those that calls give, in order."""
        arguments = self.function.args
        return [*[*arguments.posonlyargs, *arguments.args][self.bound :], *arguments.kwonlyargs]

    def default_of(self, name: str) -> ast.expr | None:
        """The value that a call may leave out."""
        arguments = self.function.args
        plain = [*arguments.posonlyargs, *arguments.args]
        pairs = dict(
            zip([arg.arg for arg in plain[len(plain) - len(arguments.defaults) :]], arguments.defaults, strict=True)
        )
        kw = {arg.arg: default for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)}
        return pairs.get(name) or kw.get(name)

    def given(self, call: ast.Call, name: str) -> ast.expr | None:
        """What a call gives to a parameter; None for its default."""
        plain = [arg.arg for arg in self.function.args.args[self.bound :]]
        if name in plain and plain.index(name) < len(call.args):
            return call.args[plain.index(name)]
        return next((keyword.value for keyword in call.keywords if keyword.arg == name), None)

    def drop(self, name: str) -> None:
        """Take a parameter out, and what calls give it."""
        arguments = self.function.args
        plain = [arg.arg for arg in arguments.args]
        for call in self.calls:
            place = plain.index(name) - self.bound if name in plain else len(call.args)
            if place < len(call.args):
                del call.args[place]
            call.keywords = [keyword for keyword in call.keywords if keyword.arg != name]
        if name in plain:
            place = plain.index(name)
            behind = len(plain) - place
            if behind <= len(arguments.defaults):
                del arguments.defaults[len(arguments.defaults) - behind]
            del arguments.args[place]
        else:
            place = [arg.arg for arg in arguments.kwonlyargs].index(name)
            del arguments.kwonlyargs[place], arguments.kw_defaults[place]


@dataclass(slots=True)
class Kind:
    """One of our dataclasses with every call of it."""

    node: ast.ClassDef
    calls: list[ast.Call] = field(default_factory=list)

    def fields(self) -> list[ast.AnnAssign]:
        """In order."""
        return [each for each in self.node.body if isinstance(each, ast.AnnAssign)]


class Calls:
    """Functions and dataclasses of a program whose every call is known."""

    def __init__(self, tree: ast.Module) -> None:
        self._functions: list[Own] = []
        self._kinds: list[Kind] = []
        by_name: dict[str, list[ast.Call]] = {}
        by_attribute: dict[str, list[ast.Call]] = {}
        called: set[int] = set()
        self.handed_on: set[str] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called.add(id(node.func))
                if isinstance(node.func, ast.Name) and node.func.id == "isinstance":
                    called.update(map(id, ast.walk(node.args[1])))  # who asks for a class makes none
                if isinstance(node.func, ast.Name):
                    by_name.setdefault(node.func.id, []).append(node)
                elif isinstance(node.func, ast.Attribute):
                    by_attribute.setdefault(node.func.attr, []).append(node)
            elif isinstance(node, ast.MatchClass) and not node.patterns:
                called.add(id(node.cls))
        supers: dict[str, list[ast.Call]] = {}
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and len(node.bases) == 1 and isinstance(node.bases[0], ast.Name):
                inner = [
                    e for e in ast.walk(node) if isinstance(e, ast.Call) and ast.unparse(e.func) == "super().__init__"
                ]
                supers.setdefault(node.bases[0].id, []).extend(inner)
        local = {name for node, scope in scoped(tree) if scope is not None for name in scope.values}
        for node in _values(tree):
            if id(node) not in called:
                if isinstance(node, ast.Name):
                    self.handed_on.add(node.id)
                else:
                    self.handed_on.add(f".{node.attr}")
        bases = _base_names(tree)
        methods: dict[str, list[tuple[ast.ClassDef, ast.FunctionDef]]] = {}
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                if node.name not in self.handed_on and node.name not in local:
                    self._add(node, by_name.get(node.name, []), 0)
            elif isinstance(node, ast.ClassDef):
                for each in node.body:
                    if isinstance(each, ast.FunctionDef):
                        methods.setdefault(each.name, []).append((node, each))
                free = node.name not in self.handed_on | bases and node.name not in local
                uses_cls = any(isinstance(e, ast.Name) and e.id == "cls" for e in ast.walk(node))
                if free and _is_dataclass(node) and not uses_cls and _plain_calls(by_name.get(node.name, [])):
                    self._kinds.append(Kind(node, by_name.get(node.name, [])))
        for name, places in methods.items():
            for owner, function in places:
                if name == "__init__":
                    if owner.name not in self.handed_on and owner.name not in local:
                        self._add(function, [*by_name.get(owner.name, []), *supers.get(owner.name, [])], 1)
                elif len(places) == 1 and name not in SHARED | _CALLED_FROM_OUTSIDE and not name.startswith("__"):
                    if not function.decorator_list or _only_no_grad(function):
                        if f".{name}" not in self.handed_on:
                            self._add(function, by_attribute.get(name, []), 1)

    def _add(self, function: ast.FunctionDef, calls: list[ast.Call], bound: int) -> None:
        arguments = function.args
        if arguments.vararg is None and arguments.kwarg is None and not arguments.posonlyargs and _plain_calls(calls):
            self._functions.append(Own(function, calls, bound))

    def functions(self) -> list[Own]:
        """Functions, methods and constructors."""
        return self._functions

    def classes(self) -> list[Kind]:
        """Dataclasses."""
        return self._kinds


def _values(tree: ast.AST) -> Iterator[ast.Name | ast.Attribute]:
    """Names and attributes that are read, not those of annotations."""
    if isinstance(tree, ast.Name | ast.Attribute) and isinstance(tree.ctx, ast.Load):
        yield tree
    for name, value in ast.iter_fields(tree):
        if name not in ("annotation", "returns", "bases"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _values(child)


def _plain_calls(calls: Sequence[ast.Call]) -> bool:
    return not any(isinstance(arg, ast.Starred) for call in calls for arg in call.args) and not any(
        keyword.arg is None for call in calls for keyword in call.keywords
    )


def _only_no_grad(function: ast.FunctionDef) -> bool:
    return all(ast.unparse(each) in ("torch.no_grad()", "contextmanager") for each in function.decorator_list)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any(isinstance(each, ast.Call) and ast.unparse(each.func) == "dataclass" for each in node.decorator_list)


# ---- parameters


def _refine(knowledge: Knowledge, tree: ast.Module, calls: Calls) -> None:
    """Parameters that may be None by annotation and never are."""
    scopes = {id(node): scope for node, scope in scoped(tree)}
    changed = True
    while changed:
        changed = False
        for own in calls.functions():
            for arg in own.parameters():
                if arg.annotation is None or id(arg.annotation) in knowledge.given:
                    continue
                allowed = knowledge.annotated(arg.annotation)
                if allowed is None or "None" not in allowed or not own.calls:
                    continue
                found: frozenset[str] = frozenset()
                for call in own.calls:
                    value = own.given(call, arg.arg) or own.default_of(arg.arg)
                    types = None if value is None else knowledge.types(value, scopes.get(id(call)))
                    if types is None:
                        break
                    found |= types
                else:
                    if found < allowed:
                        knowledge.given[id(arg.annotation)] = found
                        changed = True


def _skip_identities(tree: ast.Module, calls: Calls) -> None:
    """Functions that hand back what they are given (their checks are gone) need no call."""
    found: dict[int, ast.expr] = {}
    for own in calls.functions():
        names, only = [arg.arg for arg in own.parameters()], own.function.body[-1]
        if len(own.function.body) == len(names) == 1 and not own.bound and isinstance(only, ast.Return):
            if isinstance(only.value, ast.Name) and only.value.id == names[0]:
                found |= {id(call): value for call in own.calls if (value := own.given(call, names[0])) is not None}
    _Replace(found).visit(tree)


def _settle_parameters(tree: ast.Module, calls: Calls) -> None:
    """Parameters that all calls give the same become that; those that nobody reads go."""
    top = {name for node in tree.body for name in bound_at_top(node)}
    for own in calls.functions():
        if not own.calls:
            continue
        for arg in list(own.parameters()):
            name = arg.arg
            bound = [n for n in ast.walk(own.function) if isinstance(n, ast.Name) and n.id == name]
            inner = [n for n in ast.walk(own.function) if isinstance(n, ast.arg) and n.arg == name and n is not arg]
            declared = [n for n in ast.walk(own.function) if isinstance(n, ast.Nonlocal) and name in n.names]
            if inner or declared or any(not isinstance(n.ctx, ast.Load) for n in bound):
                continue
            values = [own.given(call, name) or own.default_of(name) for call in own.calls]
            given = [value for value in values if value is not None]
            assert len(given) == len(values), (own.function.name, name)
            if not bound:
                if all(_is_harmless(value) for value in given):
                    own.drop(name)
            elif len({ast.dump(value) for value in given}) == 1 and _is_constant(given[0], top, own.function):
                value = given[0]
                _Replace({id(n): value for n in bound}).visit(own.function)
                own.drop(name)


def bound_at_top(node: ast.stmt) -> list[str]:
    """Names that a statement of the top level binds."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return [node.targets[0].id]
    return []


def _is_constant(value: ast.expr, top: set[str], function: ast.FunctionDef) -> bool:
    """Whether an expression means the same wherever it stands: a constant, or a name of the top level."""
    if isinstance(value, ast.Constant):
        return _is_plain(value.value)
    if isinstance(value, ast.Tuple):
        return not value.elts
    if isinstance(value, ast.Attribute):
        return _is_constant(value.value, top, function)
    if isinstance(value, ast.Name):
        shadowed = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        shadowed |= {n.arg for n in ast.walk(function) if isinstance(n, ast.arg)}
        return value.id in top and value.id not in shadowed
    return False


def _is_harmless(value: ast.expr) -> bool:
    return is_pure(value) or isinstance(value, ast.Lambda)


# ---- attributes and globals


def _settle_attributes(tree: ast.Module, calls: Calls, written_out: frozenset[str]) -> None:
    """Attributes that are set once, to a constant, and fields that every call gives the same, become that."""
    homes: dict[str, int] = {}
    settled: dict[str, int] = {}
    values: dict[str, list[ast.expr]] = {}
    never = _guarded_stores(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.FunctionDef):
                    homes[each.name] = homes.get(each.name, 0) + 1
                elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    homes[each.target.id] = homes.get(each.target.id, 0) + 1
        elif isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load) and id(node) not in never:
            homes[node.attr] = homes.get(node.attr, 0) + 1
        for target, value in _stores(node):
            if is_own(target) and id(target) not in never:
                settled[target.attr] = settled.get(target.attr, 0) + 1
                values.setdefault(target.attr, []).append(value)
    for kind in calls.classes():
        for field_node in kind.fields():
            assert isinstance(field_node.target, ast.Name)
            name = field_node.target.id
            given = [_field_value(kind, call, name) or field_node.value for call in kind.calls if not call.args]
            if len(given) == len(kind.calls) and given and all(each is not None for each in given):
                settled[name] = settled.get(name, 0) + 1
                values.setdefault(name, []).extend(each for each in given if each is not None)
    known = SHARED | written_out | strings(tree) | replaced_fields([tree])
    everywhere = _only_top(tree)
    constants = {
        name: given[0]
        for name, given in values.items()
        if homes.get(name) == settled[name]
        and name not in known
        and len({ast.dump(each) for each in given}) == 1
        and (_constant(given[0]) is not None or (isinstance(given[0], ast.Name) and given[0].id in everywhere))
    }
    found = {
        id(node): constants[node.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load) and node.attr in constants
    }
    _Replace(found).visit(tree)


def _field_value(kind: Kind, call: ast.Call, name: str) -> ast.expr | None:
    return next((each.value for each in call.keywords if each.arg == name), None)


def _stores(node: ast.AST) -> Iterator[tuple[ast.Attribute, ast.expr]]:
    """Attributes that a statement sets, each to one expression."""
    pairs: list[tuple[ast.expr, ast.expr]] = []
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        pairs = [(node.targets[0], node.value)]
        if isinstance(node.targets[0], ast.Tuple) and isinstance(node.value, ast.Tuple):
            pairs = list(zip(node.targets[0].elts, node.value.elts, strict=False))
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        pairs = [(node.target, node.value)]
    yield from ((target, value) for target, value in pairs if isinstance(target, ast.Attribute))


def is_own(node: ast.Attribute) -> bool:
    """Whether it is an attribute of ``self``."""
    return isinstance(node.value, ast.Name) and node.value.id == "self"


def _guarded_stores(tree: ast.Module) -> set[int]:
    """``id`` of ``self.x`` where it is set only if it was not None before: no such place is the first to set it."""
    found: set[int] = set()
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.If)
            and isinstance(node.test, ast.Compare)
            and isinstance(node.test.left, ast.Attribute)
        ):
            asked = node.test.left
            if is_own(asked) and ast.unparse(node.test).endswith(" is not None"):
                stores = (each for part in node.body for each in ast.walk(part) if isinstance(each, ast.Attribute))
                found |= {id(each) for each in stores if is_own(each) and each.attr == asked.attr}
    return found


def _only_top(tree: ast.Module) -> set[str]:
    """Functions and values of the top level whose names mean nothing else anywhere."""
    top = [name for node in tree.body for name in bound_at_top(node)]
    stores = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    stores += [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    others = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    return {name for name in top if top.count(name) == 1 == stores.count(name) and name not in others}


def _settle_globals(tree: ast.Module) -> None:
    """Numbers of the top level go where they are read, if that is in few places."""
    stores = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    stores += [node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)]
    reads: dict[str, list[ast.Name]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            reads.setdefault(node.id, []).append(node)
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _constant(node.value) is not None:
            name, value = node.targets[0].id, node.value
            places = reads.get(name, [])
            if stores.count(name) == 1 and (len(places) < 2 or len(ast.unparse(value)) * len(places) < _FEW):
                _Replace({id(place): value for place in places}).visit(tree)


# ---- what nobody reads


def _drop_unread(tree: ast.Module, calls: Calls, written_out: frozenset[str]) -> None:
    read = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)}
    read |= written_out | strings(tree) | SHARED
    own = _private_reads(tree)
    replaced = replaced_fields([tree])
    for kind in calls.classes():
        for each in kind.fields():
            assert isinstance(each.target, ast.Name)
            name = each.target.id
            if name in read or name in replaced:
                continue
            gone = [keyword.value for call in kind.calls for keyword in call.keywords if keyword.arg == name]
            if any(call.args for call in kind.calls) or not all(map(_is_literal, gone)):
                continue
            kind.node.body.remove(each)
            kind.node.body = kind.node.body or [ast.Pass()]
            for call in kind.calls:
                call.keywords = [keyword for keyword in call.keywords if keyword.arg != name]
    for node in tree.body:
        seen = read if not isinstance(node, ast.ClassDef) else (read - own.keys()) | own_reads(node, own)
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef):
                _drop_unread_in(inner, seen)


def _base_names(tree: ast.Module) -> set[str]:
    """Classes that others are made from."""
    classes = (node for node in tree.body if isinstance(node, ast.ClassDef))
    return {base.id for node in classes for base in node.bases if isinstance(base, ast.Name)}


def _private_reads(tree: ast.Module) -> dict[str, set[str]]:
    """Attributes that only methods read, of their own ``self``: to the classes in which they do."""
    found: dict[str, set[str]] = {}
    others: set[str] = set()
    bases = _base_names(tree)
    for node in tree.body:
        family = isinstance(node, ast.ClassDef) and (node.name in bases or bool(node.bases))
        for each in ast.walk(node):
            if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Load):
                mine = isinstance(each.value, ast.Name) and each.value.id == "self"
                if mine and isinstance(node, ast.ClassDef) and not family:
                    found.setdefault(each.attr, set()).add(node.name)
                else:
                    others.add(each.attr)
    return {name: homes for name, homes in found.items() if name not in others and name not in SHARED}


def own_reads(node: ast.ClassDef, own: dict[str, set[str]]) -> set[str]:
    """Private attributes that a class itself reads."""
    return {name for name, homes in own.items() if node.name in homes}


def _is_literal(value: ast.expr) -> bool:
    """Whether building a value does nothing else: constants, names, and calls of spec classes on such."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id[:1].isupper():
        return all(_is_literal(keyword.value) for keyword in value.keywords) and all(map(_is_literal, value.args))
    return is_pure(value)


def _drop_unread_in(function: ast.FunctionDef, read: set[str]) -> None:
    loaded = {n.id for n in ast.walk(function) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    loaded |= {name for n in ast.walk(function) if isinstance(n, ast.Nonlocal | ast.Global) for name in n.names}

    def is_dead(target: ast.expr) -> bool:
        if isinstance(target, ast.Name):
            return target.id not in loaded
        return (
            isinstance(target, ast.Attribute)
            and isinstance(target.value, ast.Name)
            and target.value.id == "self"
            and target.attr not in read
        )

    for each in ast.walk(function):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(each, name, None)
            if not isinstance(block, list) or not block or not isinstance(block[0], ast.stmt):
                continue
            kept: list[ast.stmt] = []
            for statement in block:
                if (
                    isinstance(statement, ast.FunctionDef)
                    and statement is not function
                    and statement.name not in loaded
                ):
                    continue
                if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                    target, value = statement.targets[0], statement.value
                    if is_dead(target) and is_pure(value):
                        continue
                    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                        _thin(statement, target, value, is_dead)
                        if isinstance(statement.targets[0], ast.Tuple) and not statement.targets[0].elts:
                            continue
                elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
                    if isinstance(each, ast.FunctionDef) and is_dead(statement.target) and is_pure(statement.value):
                        continue
                kept.append(statement)
            if not kept and name == "body" and not isinstance(each, ast.ClassDef):
                kept = [ast.Pass()]
            block[:] = kept


def _thin(statement: ast.Assign, target: ast.Tuple, value: ast.Tuple, is_dead: Callable[[ast.expr], bool]) -> None:
    """Without parts of a tuple that nobody reads."""
    if len(target.elts) != len(value.elts) or any(isinstance(e, ast.Starred) for e in [*target.elts, *value.elts]):
        return
    kept = [(t, v) for t, v in zip(target.elts, value.elts, strict=True) if not (is_dead(t) and is_pure(v))]
    target.elts, value.elts = [t for t, _ in kept], [v for _, v in kept]
    if len(kept) == 1:
        statement.targets, statement.value = [kept[0][0]], kept[0][1]


# ---- arguments by position


def _to_positions(own: Own) -> None:
    """Make a function's parameters positional, and calls too."""
    names = [arg.arg for arg in own.parameters()]
    arguments = own.function.args
    with_default = [name for name in names if own.default_of(name) is not None]
    order = [name for name in names if name not in with_default] + with_default
    plans: list[list[ast.expr]] = []
    for call in own.calls:
        values: list[ast.expr] = []
        for place, name in enumerate(order):
            value = own.given(call, name)
            if value is None:
                later = [own.given(call, other) for other in order[place:]]
                if all(each is None for each in later):
                    break
                value = own.default_of(name)
                if not isinstance(value, ast.Constant):
                    return
            values.append(value)
        written = [*call.args, *(keyword.value for keyword in call.keywords)]
        moved = [value for value in values if any(value is each for each in written)]
        if [id(v) for v in moved if not is_pure(v)] != [id(v) for v in written if not is_pure(v)]:
            return
        plans.append(values)
    fixed = arguments.args[: own.bound]
    by_name = {arg.arg: arg for arg in own.parameters()}
    defaults = [default for name in order if (default := own.default_of(name)) is not None]
    arguments.args = [*fixed, *(by_name[name] for name in order)]
    arguments.defaults = defaults
    arguments.kwonlyargs, arguments.kw_defaults = [], []
    for call, values in zip(own.calls, plans, strict=True):
        call.args, call.keywords = values, []


def _bare_decorators(tree: ast.Module) -> None:
    """``@dataclass`` for ``@dataclass()``."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            node.decorator_list = [
                each.func if isinstance(each, ast.Call) and not each.args and not each.keywords else each
                for each in node.decorator_list
            ]


def _fields_to_positions(kind: Kind) -> None:
    fields = kind.fields()
    names = [each.target.id for each in fields if isinstance(each.target, ast.Name)]
    defaults = {each.target.id: each.value for each in fields if isinstance(each.target, ast.Name) and each.value}
    if any(name in defaults and other not in defaults for name, other in zip(names, names[1:], strict=False)):
        return
    plans = []
    for call in kind.calls:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        given |= dict(zip(names, call.args, strict=False))
        values = []
        for place, name in enumerate(names):
            if name not in given:
                if any(other in given for other in names[place:]):
                    return
                break
            values.append(given[name])
        written = [*call.args, *(keyword.value for keyword in call.keywords)]
        if [id(v) for v in values if not is_pure(v)] != [id(v) for v in written if not is_pure(v)]:
            if not all(_is_literal(v) for v in written):
                return
        plans.append(values)
    for call, values in zip(kind.calls, plans, strict=True):
        call.args, call.keywords = values, []
    for decorator in kind.node.decorator_list:
        if isinstance(decorator, ast.Call):
            decorator.keywords = [each for each in decorator.keywords if each.arg != "kw_only"]


def _forget_parameter_names(tree: ast.Module) -> None:
    """Mark parameters that no call names as positional only: a minifier may then call them what it likes."""
    named: dict[str, set[str]] = {}
    anywhere: set[str] = set()
    called_by_attribute: set[str] = set()
    all_names = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            unpacks = any(keyword.arg is None for keyword in node.keywords)
            passed = all_names if unpacks else {keyword.arg for keyword in node.keywords if keyword.arg is not None}
            if isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                named.setdefault(name, set()).update(passed)
                if isinstance(node.func, ast.Attribute):
                    called_by_attribute.add(name)
            else:
                anywhere |= passed
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    foreign = {
        name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for name in bound_at_top(node)
    }
    attributes = own_names(tree)[0]
    for name, passed in named.items():
        if name not in defined and (name in attributes or name not in called_by_attribute | foreign):
            anywhere |= passed  # a variable or a field may hold any function
    for owner in ast.walk(tree):
        for each in getattr(owner, "body", []) if not isinstance(owner, ast.Lambda | ast.IfExp) else []:
            if not isinstance(each, ast.FunctionDef):
                continue
            home = owner.name if isinstance(owner, ast.ClassDef) and each.name == "__init__" else each.name
            passed = named.get(home, set()) | anywhere
            arguments = each.args
            free = 0
            while free < len(arguments.args) and arguments.args[free].arg not in passed:
                free += 1
            arguments.posonlyargs = [*arguments.posonlyargs, *arguments.args[:free]]
            arguments.args = arguments.args[free:]
    keywords = {each.arg for each in ast.walk(tree) if isinstance(each, ast.keyword)}
    for each in ast.walk(tree):
        if isinstance(each, ast.Lambda) and not keywords & {arg.arg for arg in each.args.args}:
            each.args.posonlyargs, each.args.args = [*each.args.posonlyargs, *each.args.args], []
