"""Calls and names that are used once, taken in: the body of a function where its only call stood, a value in its place.

Only the minified form is treated so. What runs, and in which order, stays the same: a value moves to its one use only
if nothing that acts is evaluated in between, and a body moves only where the call's result is all that is left to do.
"""

import ast
import builtins
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from fairway.bundle.names import own_names
from fairway.bundle.optimise import Calls, Own, bound_at_top
from fairway.bundle.prune import drop_unreached

_SCOPES = (ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_ENDS = (ast.Return, ast.Raise)
_LONGEST_BODY = 3
"""Statements of a function that is taken in: longer ones keep their own letters, which compresses better."""


def inlined(tree: ast.Module) -> ast.Module:
    """The same program with fewer functions and locals; changes ``tree``."""
    fresh = (f"inlined_{number}" for number in itertools.count())
    while True:
        tree = ast.parse(ast.unparse(ast.fix_missing_locations(tree)))
        taken = _take_in_locals(tree) or _take_in_call(tree, fresh)
        if not taken:
            return tree
        drop_unreached(tree, annotations=True)


# ---- what is evaluated first


class Way(Enum):
    """What evaluation meets on its way to a node."""

    FOUND = auto()
    CLEAR = auto()
    """Not the node, and nothing that acts or that an act could change."""
    BLOCKED = auto()


@dataclass(frozen=True, slots=True)
class Order:
    """How a program's expressions are evaluated, as far as it matters here."""

    modules: frozenset[str]
    """Names of imported modules: their attributes do not change."""
    fields: frozenset[str]
    """Attributes that only the program's own code sets."""

    def way(self, node: ast.expr, sought: ast.expr, *, calm: bool) -> Way:
        """From the beginning of ``node``; ``calm`` says that what moves sets no field of ours."""
        if node is sought:
            return Way.FOUND
        if isinstance(node, ast.Name | ast.Constant | ast.Lambda):
            return Way.CLEAR
        if isinstance(node, ast.Attribute):
            inner = self.way(node.value, sought, calm=calm)
            still = self._is_module(node.value) or (calm and node.attr in self.fields)
            return inner if inner is not Way.CLEAR or still else Way.BLOCKED
        if isinstance(node, ast.Tuple | ast.List | ast.Set | ast.Starred):
            parts = [node.value] if isinstance(node, ast.Starred) else node.elts
            found = self._through(parts, sought, calm)
            return Way.BLOCKED if isinstance(node, ast.Starred) and found is Way.CLEAR else found
        found = self._through(list(self._first_parts(node)), sought, calm)
        return Way.BLOCKED if found is Way.CLEAR else found

    def _through(self, parts: Sequence[ast.expr], sought: ast.expr, calm: bool) -> Way:
        for part in parts:
            found = self.way(part, sought, calm=calm)
            if found is not Way.CLEAR:
                return found
        return Way.CLEAR

    def _first_parts(self, node: ast.expr) -> Iterator[ast.expr]:
        """Parts that are evaluated in any case, in order."""
        match node:
            case ast.Call():
                callee = node.func
                # which function it is was settled when the object was made; the object is what counts
                yield callee.value if isinstance(callee, ast.Attribute) else callee
                yield from node.args
                yield from (keyword.value for keyword in node.keywords)
            case ast.BinOp():
                yield from (node.left, node.right)
            case ast.UnaryOp():
                yield node.operand
            case ast.Compare():
                yield from (node.left, node.comparators[0])
            case ast.BoolOp():
                yield node.values[0]
            case ast.IfExp():
                yield node.test
            case ast.Subscript():
                yield from (node.value, node.slice)
            case ast.Slice():
                yield from filter(None, (node.lower, node.upper, node.step))
            case ast.Dict():
                for key, value in zip(node.keys, node.values, strict=True):
                    yield from filter(None, (key, value))
            case ast.JoinedStr():
                yield from itertools.islice((e.value for e in node.values if isinstance(e, ast.FormattedValue)), 1)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                yield node.generators[0].iter

    def _is_module(self, node: ast.expr) -> bool:
        while isinstance(node, ast.Attribute):
            node = node.value
        return isinstance(node, ast.Name) and node.id in self.modules


def order_of(tree: ast.Module) -> Order:
    """What a program imports, and which attributes are its own and no properties."""
    modules = {name for node in tree.body if isinstance(node, ast.Import) for name in bound_at_top(node)}
    methods = {
        each.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.FunctionDef)
    }
    foreign = {"grad", "data", "shape", "device", "dtype"}
    return Order(frozenset(modules), frozenset(own_names(tree)[0] - methods - foreign))


def first_expression(statement: ast.stmt) -> ast.expr | None:
    """What a statement evaluates before it does anything else."""
    match statement:
        case ast.Return() | ast.Expr() | ast.Assign():
            return statement.value
        case ast.AugAssign() if isinstance(statement.target, ast.Name):
            return statement.value
        case ast.If() | ast.Assert():
            return statement.test
        case ast.For():
            return statement.iter
        case ast.Raise():
            return statement.exc
        case ast.With():
            return statement.items[0].context_expr
        case ast.Match():
            return statement.subject
    return None


# ---- locals


def _take_in_locals(tree: ast.Module) -> bool:
    order = order_of(tree)
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    taken = False
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            uses = _Uses(function)
            for block in _blocks(function):
                place = len(block) - 2
                while place >= 0:
                    if _take_in_local(block, place, uses, order, functions):
                        taken = True
                        place = min(place, len(block) - 1)
                    place -= 1
    return taken


class _Uses:
    """How often each name of a function is bound and read, nested functions included."""

    def __init__(self, function: ast.FunctionDef) -> None:
        names = [node for node in ast.walk(function) if isinstance(node, ast.Name)]
        self.reads: dict[str, list[ast.Name]] = {}
        for node in names:
            if isinstance(node.ctx, ast.Load):
                self.reads.setdefault(node.id, []).append(node)
        self.stores = Counter(node.id for node in names if not isinstance(node.ctx, ast.Load))
        self.stores.update(node.arg for node in ast.walk(function) if isinstance(node, ast.arg))
        self.stores.update(
            name for node in ast.walk(function) if isinstance(node, ast.Nonlocal | ast.Global) for name in node.names
        )
        self.stores.update(
            str(node.name)
            for node in ast.walk(function)
            if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar | ast.FunctionDef) and node.name
        )


def _blocks(function: ast.FunctionDef) -> Iterator[list[ast.stmt]]:
    """Lists of statements of a function, not those of functions in it."""
    waiting: list[ast.AST] = [function]
    while waiting:
        node = waiting.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            block = getattr(node, name, None)
            if isinstance(block, list) and block:
                if isinstance(block[0], ast.stmt):
                    yield block
                waiting += [each for each in block if not isinstance(each, _SCOPES)]


def _take_in_local(block: list[ast.stmt], place: int, uses: _Uses, order: Order, functions: set[str]) -> bool:
    """Put the value of ``name = value`` where the next statement reads the name, if nobody else does."""
    statement, following = block[place], block[place + 1]
    if not (isinstance(statement, ast.Assign) and len(statement.targets) == 1):
        return False
    target, value = statement.targets[0], statement.value
    if not isinstance(target, ast.Name) or uses.stores[target.id] != 1 or len(uses.reads.get(target.id, [])) != 1:
        return False
    read = uses.reads[target.id][0]
    where = first_expression(following)
    if where is None or any(isinstance(e, ast.Yield | ast.YieldFrom | ast.NamedExpr) for e in ast.walk(value)):
        return False
    if order.way(where, read, calm=_is_calm(value, functions)) is not Way.FOUND or _is_quoted(where, read, value):
        return False
    _Put(read, value).visit(following)
    del block[place]
    return True


def _is_calm(value: ast.expr, functions: set[str]) -> bool:
    """Whether an expression calls foreign code alone, which sets no fields of ours."""
    for node in ast.walk(value):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            known = hasattr(builtins, name) if isinstance(node.func, ast.Name) else bool(name)
            if name in functions or not known or name in ("next", "map"):
                return False
        elif isinstance(node, ast.Lambda | ast.GeneratorExp):
            return False
    return True


def _is_quoted(where: ast.expr, read: ast.Name, value: ast.expr) -> bool:
    """Whether a text would come to stand inside an f-string, where Python before 3.12 has few quotes left."""
    if not any(
        isinstance(e, ast.JoinedStr) or (isinstance(e, ast.Constant) and isinstance(e.value, str | bytes))
        for e in ast.walk(value)
    ):
        return False
    return any(isinstance(e, ast.JoinedStr) and any(inner is read for inner in ast.walk(e)) for e in ast.walk(where))


class _Put(ast.NodeTransformer):
    def __init__(self, sought: ast.expr, value: ast.expr) -> None:
        self.sought, self.value = sought, value

    def visit(self, node: ast.AST) -> ast.AST:
        return self.value if node is self.sought else self.generic_visit(node)


# ---- functions


def _take_in_call(tree: ast.Module, fresh: Iterator[str]) -> bool:
    """Take in functions that are called once, while calls and functions lie apart."""
    calls = Calls(tree)
    order = order_of(tree)
    sites = {id(call): site for site in _sites(tree) for call in site.calls()}
    touched: set[int] = set()
    taken = False
    for own in calls.functions():
        function = own.function
        if len(own.calls) != 1 or not _can_move(function, own.bound):
            continue
        site = sites.get(id(own.calls[0]))
        if site is None or site.function is function:
            continue
        if {id(function), id(site.function)} & touched:
            continue
        if _splice(own, site, order, fresh):
            touched |= {id(function), id(site.function)}
            taken = True
            _remove(tree, function)
    return taken


@dataclass(frozen=True, slots=True)
class _Site:
    """A statement of a function, and where it stands."""

    function: ast.FunctionDef
    outer: tuple[ast.FunctionDef, ...]
    block: list[ast.stmt]
    statement: ast.stmt

    def calls(self) -> Iterator[ast.Call]:
        first = first_expression(self.statement)
        if first is not None:
            yield from (node for node in ast.walk(first) if isinstance(node, ast.Call))


def _sites(tree: ast.Module) -> Iterator[_Site]:
    waiting: list[tuple[ast.AST, tuple[ast.FunctionDef, ...]]] = [(tree, ())]
    while waiting:
        node, outer = waiting.pop()
        for function in _direct_functions(node):
            for block in _blocks(function):
                for statement in block:
                    yield _Site(function, outer, block, statement)
            waiting.append((function, (*outer, function)))


def _direct_functions(node: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions under a node that lie in no other function under it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            yield child
        else:
            yield from _direct_functions(child)


def _can_move(function: ast.FunctionDef, bound: int) -> bool:
    if function.decorator_list or function.name == "__init__" or len(function.body) > _LONGEST_BODY:
        return False
    inner = [node for statement in function.body for node in ast.walk(statement)]
    if any(isinstance(e, ast.Yield | ast.YieldFrom | ast.Nonlocal | ast.Global | ast.Await) for e in inner):
        return False
    if any(isinstance(e, ast.Name) and e.id in ("super", "__class__", function.name) for e in inner):
        return False
    nested = {arg.arg for e in inner if isinstance(e, ast.arguments) for arg in [*e.args, *e.kwonlyargs]}
    return not nested & _bound(function)


def _bound(function: ast.FunctionDef) -> set[str]:
    """Names that a function binds, comprehensions' among them."""
    uses = _Uses(function)
    return set(uses.stores)


def _splice(own: Own, site: _Site, order: Order, fresh: Iterator[str]) -> bool:
    function, call = own.function, own.calls[0]
    first = first_expression(site.statement)
    assert first is not None
    body = list(function.body)
    is_tail = first is call and isinstance(site.statement, ast.Return)
    returns = [node for node in _own_statements(function) if isinstance(node, ast.Return)]
    ends_once = len(returns) == (1 if isinstance(body[-1], ast.Return) else 0)
    if not ends_once and not (is_tail and isinstance(body[-1], _ENDS)):
        return False
    is_value = first is call and isinstance(site.statement, ast.Return | ast.Expr | ast.Assign)
    if not is_value and order.way(first, call, calm=False) is not Way.FOUND:
        return False
    if not is_value and not (returns and returns[0].value is not None):
        return False
    around = {name for each in (site.function, *site.outer) for name in _bound(each)}
    mine = _bound(function)
    free = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} - mine
    if free & around:
        return False
    new = {name: next(fresh) for name in sorted(mine)}
    given = _arguments(own, site, function, new)
    if given is None:
        return False
    before, instead = given
    moved = [_Rename(new, instead).visit(each) for each in body]
    place = site.block.index(site.statement)
    if not ends_once:
        site.block[place : place + 1] = [*before, *moved]
        return True
    result: ast.expr = ast.Constant(None)
    if moved and isinstance(moved[-1], ast.Return):
        last = moved.pop()
        result = last.value or result
    statement = site.statement
    if isinstance(statement, ast.Expr) and first is call and isinstance(result, ast.Constant):
        site.block[place : place + 1] = [*before, *moved]
    elif is_value:
        statement.value = result  # type: ignore[attr-defined]
        site.block[place : place + 1] = [*before, *moved, statement]
    else:
        name = next(fresh)
        _Put(call, ast.Name(name, ast.Load())).visit(statement)
        kept = ast.Assign([ast.Name(name, ast.Store())], result)
        site.block[place : place + 1] = [*before, *moved, kept, statement]
    return True


def _own_statements(function: ast.FunctionDef) -> Iterator[ast.stmt]:
    for block in _blocks(function):
        yield from block


def _arguments(
    own: Own, site: _Site, function: ast.FunctionDef, new: dict[str, str]
) -> tuple[list[ast.stmt], dict[str, ast.expr]] | None:
    """Assignments before a body, and what stands in it for parameters whose arguments need none."""
    call = own.calls[0]
    uses, around = _Uses(function), _Uses(site.function)
    pairs: list[tuple[str, ast.expr]] = []
    if own.bound:
        if not isinstance(call.func, ast.Attribute):
            return None
        pairs.append((function.args.args[0].arg, call.func.value))
    written = [*call.args, *(keyword.value for keyword in call.keywords)]
    for arg in own.parameters():
        value = own.given(call, arg.arg) or own.default_of(arg.arg)
        if value is None:
            return None
        pairs.append((arg.arg, value))
    order = [id(value) for _, value in pairs if any(value is each for each in written)]
    acting = [each for each in written if not isinstance(each, ast.Name | ast.Constant)]
    if [each for each in order if any(each == id(one) for one in acting)] != [id(each) for each in acting]:
        return None
    before: list[ast.stmt] = []
    instead: dict[str, ast.expr] = {}
    for name, value in pairs:
        still = isinstance(value, ast.Constant) or (isinstance(value, ast.Name) and around.stores[value.id] <= 1)
        if still and uses.stores[name] == 1:
            instead[name] = value
        else:
            before.append(ast.Assign([ast.Name(new[name], ast.Store())], value))
    return before, instead


class _Rename(ast.NodeTransformer):
    def __init__(self, new: dict[str, str], instead: dict[str, ast.expr]) -> None:
        self.new, self.instead = new, instead

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.instead:
            return self.instead[node.id]
        return ast.Name(self.new.get(node.id, node.id), node.ctx)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.name = self.new.get(node.name, node.name) if node.name else None
        return self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> ast.AST:
        node.name = self.new.get(node.name, node.name) if node.name else None
        return self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> ast.AST:
        node.name = self.new.get(node.name, node.name) if node.name else None
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self.new.get(node.name, node.name)
        return self.generic_visit(node)


def _remove(tree: ast.Module, function: ast.FunctionDef) -> None:
    for owner in ast.walk(tree):
        body = getattr(owner, "body", None)
        if isinstance(body, list) and any(each is function for each in body):
            body[:] = [each for each in body if each is not function] or [ast.Pass()]
