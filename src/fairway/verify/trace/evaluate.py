"""Expressions of a program to what is known of their values; calls are followed into the program's own functions."""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairway.verify.trace import library
from fairway.verify.trace.events import Block, Event, Kind, Trace
from fairway.verify.trace.switches import Switches
from fairway.verify.trace.values import (
    NONE,
    NOTHING,
    UNKNOWN,
    Class,
    Function,
    Instance,
    Scope,
    Value,
    elements,
    join,
    mixed,
    union,
)

MOST_EXPRESSIONS = 200_000
MOST_CALLS_DEEP = 16
RANGE = "range"
"""Stands for the function of that name, under whatever name a small program has it."""
_LARGEST = 1e18
"""A number beyond this is no setting; multiplying on would take for ever."""
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: lambda a, b: a is b or (a == b and type(a) is type(b)),
    ast.IsNot: lambda a, b: not (a is b or (a == b and type(a) is type(b))),
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_CONVERSIONS: dict[str, Callable[[Any], Any]] = {"int": int, "float": float, "bool": bool, "str": str, "abs": abs}
_TEXT_METHODS = frozenset({"lower", "upper", "strip"})
_OF_THE_LAUNCHER = frozenset({"WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR"})


class GaveUp(Exception):
    """The program is too long to follow."""


class Evaluator:
    """What expressions are worth; ``walk.Walker`` adds statements."""

    def __init__(self, switches: Switches) -> None:
        self.switches = switches
        self.trace = Trace()
        self.clock = 0
        self.numbers = 0
        self.leaves: set[int] = set()
        self.modules: dict[str, Scope] = {}
        self.file = ""
        self.block = Block(kind="program", file="", line=1)
        self.scope = Scope({})
        self.running: list[ast.AST] = []
        self.picking: int | None = None
        self._methods: dict[type[ast.expr], Any] = {}
        self.discarded: ast.expr | None = None
        """The expression of a statement that throws its value away."""

    # ------------------------------------------------------------------ helpers

    def number(self) -> int:
        """A number that nothing else has."""
        self.numbers += 1
        return self.numbers

    def made(self, *sources: Value, what: str = "", ref: Any = None) -> Value:
        """Something new, computed from some sources."""
        one = frozenset({self.number()})
        value = mixed(sources, self.clock)
        return replace(value, own=one, what=what, ref=ref)  # type: ignore[arg-type]

    def note(self, kind: Kind, node: ast.AST, value: Value, own: frozenset[int], **more: Any) -> None:
        """Write an event down."""
        self.clock += 1
        self.trace.events.append(
            Event(
                kind=kind,
                at=self.clock,
                file=self.file,
                line=getattr(node, "lineno", self.block.line),
                block=self.block,
                data=value.data,
                own=own,
                turns=value.turns,
                **more,
            )
        )

    # ------------------------------------------------------------------ expressions

    def evaluate(self, node: ast.expr | None) -> Value:
        """What is known of an expression."""
        if node is None:
            return NOTHING
        self.clock += 1
        if self.clock > MOST_EXPRESSIONS:
            raise GaveUp(f"more than {MOST_EXPRESSIONS} expressions")
        kind = type(node)
        if kind not in self._methods:
            self._methods[kind] = getattr(self, f"_{kind.__name__.lower()}", None)
        if (method := self._methods[kind]) is not None:
            found: Value = method(node)
            return found
        return mixed(
            [self.evaluate(child) for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)], self.clock
        )

    def _constant(self, node: ast.Constant) -> Value:
        value = node.value
        data = library.tokens_named(value) if isinstance(value, str) else NONE
        return Value(const=value, data=data, born=self.clock)

    def _joinedstr(self, node: ast.JoinedStr) -> Value:
        parts = [self.evaluate(part) for part in node.values]
        text = "".join(str(part.const) if part.const is not UNKNOWN else "*" for part in parts)
        return replace(mixed(parts, self.clock), data=union(p.data for p in parts) | library.tokens_named(text))

    def _formattedvalue(self, node: ast.FormattedValue) -> Value:
        return self.evaluate(node.value)

    def _name(self, node: ast.Name) -> Value:
        value = self.scope.get(node.id)
        if value is None:
            ref = RANGE if node.id == "range" else None
            return Value(data=library.tokens_called(node.id), born=self.clock, ref=ref)
        if "byte" in node.id.lower() and not value.loss:
            value = replace(value, data=value.data | {"bytes"})
        for number in value.own:
            self.trace.last_use[number] = self.clock
        return value

    def _attribute(self, node: ast.Attribute) -> Value:
        return self.attribute(self.evaluate(node.value), node.attr)

    def attribute(self, base: Value, name: str) -> Value:
        """An attribute of a value."""
        found = self._found(base, name)
        if "byte" in name.lower() and not found.loss and found.ref is None:
            return replace(found, data=found.data | {"bytes"})
        return found

    def _found(self, base: Value, name: str) -> Value:
        if isinstance(base.ref, Instance):
            found = base.ref.fields.get(name)
            if found is not None:
                return replace(found, turns=found.turns | base.turns)
            return self._of_class(base.ref.kind, name, base)
        if isinstance(base.ref, Class):
            return self._of_class(base.ref, name, None)
        if name in library.SIZES:
            return Value(turns=base.turns, born=self.clock)
        data = base.data | (NONE if base.own or base.data else library.tokens_called(name))
        return replace(base, data=data, const=UNKNOWN, items=None, named=None, ref=None)

    def _of_class(self, kind: Class, name: str, base: Value | None) -> Value:
        if (found := kind.attributes.get(name)) is not None:
            return found
        method = kind.method(name)
        if method is not None:
            static = any(isinstance(d, ast.Name) and d.id == "staticmethod" for d in method.decorator_list)
            bound = None if static else (base if base is not None else Value(ref=kind, what="class"))
            function = Function(node=method, scope=kind.scope, self_value=bound)
            if any(isinstance(d, ast.Name) and d.id == "property" for d in method.decorator_list):
                return self.call_function(function, method, [], {})
            return Value(ref=function, what="function", own=base.own if base is not None else NONE)
        data = base.data if base is not None else NONE
        return Value(data=data or library.tokens_called(name), own=base.own if base is not None else NONE)

    def _subscript(self, node: ast.Subscript) -> Value:
        base, index = self.evaluate(node.value), self.evaluate(node.slice)
        if (
            base.items is not None
            and isinstance(index.const, int)
            and -len(base.items) <= index.const < len(base.items)
        ):
            return base.items[index.const]
        if base.named is not None and isinstance(index.const, str) and index.const in base.named:
            return base.named[index.const]
        if isinstance(index.const, str) and isinstance(node.value, ast.Attribute) and node.value.attr == "environ":
            return self.environment(index.const, NOTHING)
        one = elements(base)
        return replace(
            one,
            data=one.data | index.data,
            used=one.used | index.used | index.own,
            turns=one.turns | index.turns,
            match=one.match or index.match,
            ref=one.ref if base.items is not None or base.named is not None else base.ref,
        )

    def _tuple(self, node: ast.Tuple | ast.List | ast.Set) -> Value:
        items: list[Value] = []
        known = True
        for element in node.elts:
            value = self.evaluate(element.value if isinstance(element, ast.Starred) else element)
            if isinstance(element, ast.Starred):
                known = known and value.items is not None
                items.extend(value.items or (elements(value),))
            else:
                items.append(value)
        whole = join([replace(item, const=UNKNOWN, items=None, named=None, ref=None) for item in items])
        consts = [item.const for item in items]
        const = tuple(consts) if known and all(c is not UNKNOWN for c in consts) else UNKNOWN
        return replace(whole, items=tuple(items) if known else None, const=const, loss=whole.loss)

    _list = _tuple
    _set = _tuple

    def _dict(self, node: ast.Dict) -> Value:
        named: dict[str, Value] = {}
        rest: list[Value] = []
        for key, item in zip(node.keys, node.values, strict=True):
            value = self.evaluate(item)
            name = self.evaluate(key).const if key is not None else UNKNOWN
            if isinstance(name, str):
                named[name] = value
            elif key is None and value.named is not None:
                named.update(value.named)
            else:
                rest.append(value)
        whole = join([replace(v, const=UNKNOWN, items=None, named=None, ref=None) for v in [*named.values(), *rest]])
        if not node.keys:
            return self.made()
        return replace(whole, named=named)

    def _comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp | ast.DictComp) -> Value:
        outer = self.scope
        self.scope = Scope({}, outer)
        extra = NONE
        for generator in node.generators:
            over = self.evaluate(generator.iter)
            extra |= over.turns
            self.bind(generator.target, elements(over))
            for test in generator.ifs:
                self.evaluate(test)
        if isinstance(node, ast.DictComp):
            found = join(
                [replace(self.evaluate(node.value), const=UNKNOWN), replace(self.evaluate(node.key), const=UNKNOWN)]
            )
        else:
            found = self.evaluate(node.elt)
        self.scope = outer
        return replace(found, const=UNKNOWN, items=None, named=None, ref=None, turns=found.turns | extra)

    _listcomp = _comprehension
    _generatorexp = _comprehension
    _setcomp = _comprehension
    _dictcomp = _comprehension

    def _ifexp(self, node: ast.IfExp) -> Value:
        test = self.evaluate(node.test)
        if test.const is not UNKNOWN:
            return self.evaluate(node.body if test.const else node.orelse)
        return join([self.evaluate(node.body), self.evaluate(node.orelse)])

    def _boolop(self, node: ast.BoolOp) -> Value:
        stop = isinstance(node.op, ast.Or)
        seen: list[Value] = []
        for part in node.values:
            value = self.evaluate(part)
            if value.const is not UNKNOWN and bool(value.const) is stop:
                if not seen or all(v.const is not UNKNOWN for v in seen) or not isinstance(value.const, str):
                    return value
            seen.append(value)
        if all(value.const is not UNKNOWN for value in seen):
            return seen[-1]
        return replace(join(seen), const=UNKNOWN)

    def _unaryop(self, node: ast.UnaryOp) -> Value:
        value = self.evaluate(node.operand)
        found = replace(mixed([value], self.clock), own=NONE)
        if value.const is not UNKNOWN:
            if isinstance(node.op, ast.Not):
                return Value(const=not value.const)
            if isinstance(node.op, ast.USub) and isinstance(value.const, int | float):
                return Value(const=-value.const)
        return replace(found, match=value.match)

    def _binop(self, node: ast.BinOp) -> Value:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        if left.const is not UNKNOWN and right.const is not UNKNOWN and (do := _ARITHMETIC.get(type(node.op))):
            if isinstance(left.const, int | float) and isinstance(right.const, int | float):
                try:
                    result = do(left.const, right.const)
                except (ArithmeticError, ValueError):
                    return NOTHING
                return Value(const=result) if -_LARGEST < result < _LARGEST else NOTHING
        if isinstance(node.op, ast.Add) and left.items is not None and right.items is not None:
            return replace(join([left, right]), items=left.items + right.items, const=UNKNOWN)
        found = mixed([left, right], self.clock)
        if isinstance(node.op, ast.Add) and (left.what or right.what):
            found = replace(found, own=left.own | right.own)
        if isinstance(node.op, ast.BitAnd | ast.BitOr | ast.BitXor):
            return replace(found, match=left.match or right.match)
        return replace(found, match=False)

    def _compare(self, node: ast.Compare) -> Value:
        values = [self.evaluate(node.left), *(self.evaluate(part) for part in node.comparators)]
        if len(values) == 2 and all(v.const is not UNKNOWN for v in values):
            try:
                return Value(const=bool(_COMPARE[type(node.ops[0])](values[0].const, values[1].const)))
            except (TypeError, KeyError):
                return NOTHING
        first, second = values[0], values[1]
        if isinstance(node.ops[0], ast.Is | ast.IsNot) and second.const is None:
            if first.own or first.ref is not None or first.items is not None:
                return Value(const=isinstance(node.ops[0], ast.IsNot))
        found = replace(mixed(values, self.clock), own=NONE, match=False)
        if len(values) == 2 and isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE):
            found = replace(found, smaller=all(side.loss and "val" in side.data for side in values))
        if isinstance(node.ops[0], ast.Eq):
            sides = [v for v in values if "val" in v.data]
            others = [v for v in values if "val" not in v.data and v.const is UNKNOWN and "blob" in v.data]
            found = replace(found, match=bool(sides and others))
            if first.turns and isinstance(node.left, ast.Name) and _one_less(node.comparators[0]):
                found = replace(found, last=max(first.turns))
        return found

    def _lambda(self, node: ast.Lambda) -> Value:
        return Value(ref=Function(node=node, scope=self.scope), what="function")

    def _namedexpr(self, node: ast.NamedExpr) -> Value:
        value = self.evaluate(node.value)
        self.bind(node.target, value)
        return value

    def _await(self, node: ast.Await) -> Value:
        return self.evaluate(node.value)

    def _starred(self, node: ast.Starred) -> Value:
        return self.evaluate(node.value)

    def bind(self, target: ast.expr, value: Value) -> None:
        """Give a value to the target of an assignment."""
        raise NotImplementedError

    def call_function(
        self, function: Function, node: ast.AST, args: Sequence[Value], named: Mapping[str, Value]
    ) -> Value:
        """Follow a call of a function of the program."""
        raise NotImplementedError

    def _call(self, node: ast.Call) -> Value:
        raise NotImplementedError

    def environment(self, name: str, default: Value) -> Value:
        """A variable of the environment: what logs or commands say of it, else its default."""
        if name in _OF_THE_LAUNCHER:
            return NOTHING
        const = self.switches.of_environment(name, default.const)
        return default if const is default.const else replace(default, const=const)

    @staticmethod
    def convert(name: str, value: Value) -> Value | None:
        """A conversion of a constant; None where it is none."""
        if value.const is UNKNOWN or name not in _CONVERSIONS:
            return None
        try:
            return replace(value, const=_CONVERSIONS[name](value.const))
        except (TypeError, ValueError, ArithmeticError):
            return NOTHING

    @staticmethod
    def text_method(value: Value, name: str) -> Value | None:
        """A method of constant text; None where it is none."""
        if isinstance(value.const, str) and name in _TEXT_METHODS:
            return replace(value, const=getattr(value.const, name)())
        return None


def _one_less(node: ast.expr) -> bool:
    """Whether an expression is some number less one."""
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Sub)
        and isinstance(node.right, ast.Constant)
        and node.right.value == 1
    ) or (isinstance(node, ast.Name) and "last" in node.id)
