"""What is known of a value of a program that is read and not run: where its data come from, what made it."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal


class _Unknown:
    """The constant that is not known; not equal to any."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Any = _Unknown()

What = Literal["", "model", "leaf", "optimizer", "function", "class", "instance"]
NONE: frozenset[Any] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A value, as far as reading shows it. Sets grow where two courses of the program meet."""

    data: frozenset[str] = NONE
    """Which tokens it was made of: ``val``, ``train``."""
    own: frozenset[int] = NONE
    """Which made things it is or holds: models, adapted tensors, tables; for an optimizer, what it moves."""
    used: frozenset[int] = NONE
    """Which made things it was computed from."""
    loss: bool = False
    """Whether it was computed from a loss, or from the probability of a target."""
    picked: int | None = None
    """Line on which it was taken as the smaller of two losses."""
    smaller: bool = False
    """Whether it says which of two losses is the smaller."""
    match: bool = False
    """Whether it says where validation tokens equal something that is no constant and no validation data."""
    what: What = ""
    const: Any = UNKNOWN
    turns: frozenset[int] = NONE
    """Loops whose variable it depends on."""
    last: int | None = None
    """Loop of which it says whether the turn is the last."""
    born: int = 0
    """Clock at which it was computed."""
    items: "tuple[Value, ...] | None" = None
    """Elements of a tuple or list whose length is known."""
    named: "Mapping[str, Value] | None" = None
    """Values of a dictionary whose keys are known."""
    ref: Any = None
    """Function, class or object behind it."""


NOTHING = Value()


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function of the program, with what it closes over."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: "Scope"
    self_value: Value | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Class:
    """A class of the program."""

    node: ast.ClassDef
    scope: "Scope"
    module: bool
    """Whether it is a neural network: its inside is not looked at."""
    attributes: dict[str, Value]

    def method(self, name: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
        """The method of this name that the class itself defines."""
        found = (n for n in self.node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef) and n.name == name)
        return next(found, None)


@dataclass(slots=True)
class Instance:
    """An object of a class of the program."""

    kind: Class
    number: int
    fields: dict[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class Scope:
    """Names of one module or of one running function."""

    names: dict[str, Value]
    parent: "Scope | None" = None
    outer: frozenset[str] = NONE
    """Names that belong to an enclosing scope (``global``, ``nonlocal``)."""

    def find(self, name: str) -> "Scope | None":
        """The scope that holds a name."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope
            scope = scope.parent
        return None

    def get(self, name: str) -> Value | None:
        """The value of a name, None where there is none."""
        holder = self.find(name)
        return None if holder is None else holder.names[name]

    def put(self, name: str, value: Value) -> None:
        """Bind a name here, or where it was declared to belong."""
        if name in self.outer and self.parent is not None and (holder := self.parent.find(name)) is not None:
            old = holder.names[name]
            holder.names[name] = join((old, replace(value, const=UNKNOWN)))
        else:
            self.names[name] = value


def join(values: Iterable[Value]) -> Value:
    """What holds where any of some values may stand."""
    some = list(values)
    if not some:
        return NOTHING
    if len(some) == 1:
        return some[0]
    first = some[0]
    if all(value is first for value in some):
        return first
    consts = [value.const for value in some]
    same = all(const is not UNKNOWN and type(const) is type(consts[0]) and const == consts[0] for const in consts)
    refs = [value for value in some if value.ref is not None]
    return Value(
        data=union(value.data for value in some),
        own=union(value.own for value in some),
        used=union(value.used for value in some),
        loss=any(value.loss for value in some),
        picked=next((value.picked for value in some if value.picked is not None), None),
        smaller=any(value.smaller for value in some),
        match=any(value.match for value in some),
        what=next((value.what for value in some if value.what), ""),
        const=consts[0] if same else UNKNOWN,
        turns=union(value.turns for value in some),
        last=next((value.last for value in some if value.last is not None), None),
        born=min(value.born for value in some),
        items=first.items if all(value.items is first.items for value in some) else None,
        named=first.named if all(value.named is first.named for value in some) else None,
        ref=refs[-1].ref if refs else None,
    )


def mixed(values: Iterable[Value], clock: int) -> Value:
    """What is computed from some values: their data, and what they are becomes what was used."""
    some = list(values)
    return Value(
        data=union(value.data for value in some),
        used=union(value.own | value.used for value in some),
        loss=any(value.loss for value in some),
        picked=next((value.picked for value in some if value.picked is not None), None),
        match=any(value.match for value in some),
        turns=union(value.turns for value in some),
        born=clock,
    )


def union(sets: Iterable[frozenset[Any]]) -> frozenset[Any]:
    """All members of some sets."""
    return NONE.union(*sets)


def elements(value: Value) -> Value:
    """One element of a sequence, or one value of a dictionary, whichever it is."""
    if value.items is None and value.named is None:
        return value if value.const is UNKNOWN else replace(value, const=UNKNOWN)
    parts = list(value.items or ()) + list((value.named or {}).values())
    rest = replace(value, items=None, named=None, const=UNKNOWN)
    return join([rest, *(replace(part, const=UNKNOWN) for part in parts)])
