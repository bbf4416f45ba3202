"""Calls: followed into the program's own functions, known by name where they are a library's."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairway.verify.trace import library
from fairway.verify.trace.evaluate import MOST_CALLS_DEEP, Evaluator
from fairway.verify.trace.events import Block
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


class Caller(Evaluator):
    """Expressions with calls."""

    def run_body(self, body: Sequence[ast.stmt]) -> bool:
        """Walk statements; whether they end the course of what they stand in."""
        raise NotImplementedError

    def _call(self, node: ast.Call) -> Value:
        func = node.func
        receiver = NOTHING
        if isinstance(func, ast.Attribute):
            receiver = self.evaluate(func.value)
            callee = self.attribute(receiver, func.attr)
            tail, dotted = func.attr, _dotted(func)
        else:
            callee = self.evaluate(func)
            tail = dotted = func.id if isinstance(func, ast.Name) else ""
        args, named = self._arguments(node)
        return self.call(node, callee, receiver, tail, dotted, args, named)

    def _arguments(self, node: ast.Call) -> tuple[list[Value], dict[str, Value]]:
        args: list[Value] = []
        for arg in node.args:
            value = self.evaluate(arg)
            if isinstance(arg, ast.Starred):
                args.extend(value.items or (elements(value),))
            else:
                args.append(value)
        named: dict[str, Value] = {}
        for keyword in node.keywords:
            value = self.evaluate(keyword.value)
            if keyword.arg is not None:
                named[keyword.arg] = value
            else:
                named.update(value.named or {})
        return args, named

    def call(
        self,
        node: ast.Call,
        callee: Value,
        receiver: Value,
        tail: str,
        dotted: str,
        args: list[Value],
        named: dict[str, Value],
    ) -> Value:
        """What a call gives back; what it does is written down."""
        if isinstance(callee.ref, Function):
            return self.call_function(callee.ref, node, args, named)
        if isinstance(callee.ref, Class):
            return self._create(callee.ref, node, args, named)
        if isinstance(callee.ref, Instance):
            method = callee.ref.kind.method("__call__") or callee.ref.kind.method("forward")
            if method is not None:
                bound = Function(node=method, scope=callee.ref.kind.scope, self_value=callee)
                return self.call_function(bound, node, args, named)
        everything = [*args, *named.values()]
        found = self._environment_call(dotted, args)
        if found is None and isinstance(node.func, ast.Name) and len(args) == 1:
            found = self.convert(tail, args[0])
        if found is None:
            found = self.text_method(receiver, tail)
        if found is None and tail == "getattr" and len(args) >= 2 and isinstance(args[1].const, str):
            known = self.attribute(args[0], args[1].const)
            bare = known.const is UNKNOWN and not (known.data or known.own or known.ref or known.items)
            found = args[2] if bare and len(args) > 2 and not args[0].own else known
        if found is not None:
            return found
        self._follow_callbacks(node, tail, everything)
        return self._library(node, callee, receiver, tail, dotted, args, named)

    def _environment_call(self, dotted: str, args: list[Value]) -> Value | None:
        if dotted in ("os.environ.get", "os.getenv", "environ.get", "getenv") and args:
            default = args[1] if len(args) > 1 else Value(const=None)
            name = args[0].const
            return self.environment(name, default) if isinstance(name, str) else NOTHING
        if dotted == "os.path.join":
            text = "/".join(str(arg.const) if arg.const is not UNKNOWN else "*" for arg in args)
            return Value(data=union(arg.data for arg in args) | library.tokens_named(text), born=self.clock)
        return None

    def _follow_callbacks(self, node: ast.Call, tail: str, args: Sequence[Value]) -> None:
        """Functions that are handed to something unknown may be called by it."""
        if tail in library.ALIASES or tail in ("register_forward_hook", "register_hook"):
            return
        for arg in args:
            if isinstance(arg.ref, Function):
                self.call_function(arg.ref, node, [], {})

    def _library(
        self,
        node: ast.Call,
        callee: Value,
        receiver: Value,
        tail: str,
        dotted: str,
        args: list[Value],
        named: dict[str, Value],
    ) -> Value:
        everything = [*args, *named.values()]
        whole = mixed([receiver, *everything], self.clock)
        if tail == "backward" or (tail == "grad" and "autograd" in dotted):
            loss = receiver if tail == "backward" else (args[0] if args else NOTHING)
            asked = elements(args[1]).own if tail == "grad" and len(args) > 1 else NONE
            self.note("backward", node, loss, asked or loss.own | loss.used, leaf=bool(asked) and asked <= self.leaves)
            return whole
        if tail == "step" and receiver.what == "optimizer":
            only_leaves = bool(receiver.own) and receiver.own <= self.leaves
            self.note("step", node, NOTHING, receiver.own, leaf=only_leaves)
            return NOTHING
        if tail == "load_state_dict" and receiver.own and args:
            state = args[0]
            self.note("restore", node, NOTHING, receiver.own, born=state.born)
            for number in receiver.own:
                self.trace.derived.append((number, state.used | state.own, self.clock))
            return NOTHING
        if tail in library.OPTIMIZERS or "optim." in dotted:
            movable = join([elements(value) for value in args[:1] or list(named.values())[:1]])
            if movable.own:
                return Value(what="optimizer", own=movable.own, born=self.clock)
        if tail == "deepcopy" and args:
            copy = self.made(*args, what=args[0].what)
            for number in copy.own:
                self.trace.derived.append((number, args[0].own | args[0].used, self.clock))
            return copy
        if callee.what == "model" and tail not in library.ALIASES and tail not in library.SIZES:
            return self._forward(node, callee, tail, everything, whole)
        if tail in library.SIZES:
            return Value(turns=receiver.turns)
        if tail in library.ALIASES:
            return self._alias(node, receiver, tail, args, whole)
        if tail in library.LOSSES or (tail in library.LOGARITHMS and "val" in whole.data):
            return replace(whole, loss=bool(whole.data & {"val", "train"}))
        if tail == "apply" and sum(bool(value.data & {"val", "train"}) for value in everything) >= 2:
            return replace(whole, loss=True)
        losses = [value for value in everything if value.loss]
        if len(losses) >= 2 and (tail in library.SMALLER or dotted in ("min", "torch.min", "np.fmin")):
            return replace(whole, picked=node.lineno)
        if tail == "where" and len(args) == 3 and args[0].smaller:
            return replace(whole, picked=node.lineno)
        if tail == "at" and dotted.endswith("add.at") and args:
            self._count(node, node.args[0], args[0], mixed(args[1:], self.clock))
            return NOTHING
        self._mutate(node, receiver, tail, everything)
        if tail in library.MAKERS and _wants_gradient(tail, named):
            leaf = self.made(*everything)
            self.leaves |= leaf.own
            return leaf
        if dotted.startswith(("nn.", "torch.nn.")) and tail[:1].isupper():
            return replace(self.made(*everything, what="model"), data=NONE, loss=False)
        if tail == "compress":
            self.note("pack", node, whole, whole.used)
        if tail in library.TABLES and not receiver.own:
            return self.made(*everything)
        if tail in library.WRITERS:
            self.note("write", node, whole, whole.used)
        if tail in ("read", "read_bytes", "fromfile", "frombuffer", "load", "memmap"):
            return replace(whole, data=whole.data | {"blob"})
        return replace(whole, match=any(v.match for v in [receiver, *everything]))

    def _forward(self, node: ast.Call, callee: Value, tail: str, args: Sequence[Value], whole: Value) -> Value:
        fed = [value for value in args if value.data & {"val", "train"}]
        if not fed:
            return replace(callee, const=UNKNOWN, ref=None) if not args else whole
        self.note("forward", node, mixed(fed, self.clock), callee.own, name=tail, unused=node is self.discarded)
        result = mixed([replace(callee, data=NONE), *args], self.clock)
        return replace(result, loss=result.loss or len(fed) >= 2)

    def _alias(self, node: ast.Call, receiver: Value, tail: str, args: list[Value], whole: Value) -> Value:
        if tail == "requires_grad_" and not receiver.own:
            leaf = self.made(receiver)
            self.leaves |= leaf.own
            return leaf
        if isinstance(node.func, ast.Attribute) and not _library_root(node.func):
            keep = join([receiver, *([args[1]] if tail in ("get", "pop", "setdefault") and len(args) > 1 else [])])
            return replace(keep, const=UNKNOWN, items=None, used=keep.used | whole.used, data=keep.data | whole.data)
        if not args:
            return self.made() if tail in ("dict", "list", "set") else NOTHING
        if tail in ("list", "tuple"):
            return replace(args[0], const=UNKNOWN)
        if tail == "filter" and len(args) > 1:
            return args[1]
        one = join([replace(elements(arg), ref=arg.ref if isinstance(arg.ref, Function) else None) for arg in args])
        keep = args[0] if len(args) == 1 or tail not in ("zip",) else one
        return replace(keep, const=UNKNOWN, items=None, turns=whole.turns)

    def _mutate(self, node: ast.Call, receiver: Value, tail: str, args: Sequence[Value]) -> None:
        """What a method puts into its receiver."""
        if tail not in library.MUTATORS or not isinstance(node.func, ast.Attribute) or not args:
            return
        target = node.func.value
        given = mixed(args, self.clock)
        if tail in library.COUNTERS and isinstance(target, ast.Name | ast.Attribute) and not given.loss:
            self._count(node, target, receiver, given)
        if tail in ("append", "extend") and given.loss and "val" in given.data:
            self.note("score", node, given, given.used, picked=given.picked)
        if isinstance(target, ast.Name | ast.Attribute):
            old = replace(receiver, const=UNKNOWN, items=None, named=None)
            self.bind(target, replace(join([old, replace(given, own=union(a.own for a in args))]), ref=receiver.ref))

    def _count(self, node: ast.AST, target: ast.expr, table: Value, given: Value) -> None:
        """Counts that are added to a table."""
        if "val" in given.data and not given.loss:
            self.note("build", node, given, table.own | self._holder(target))
        if isinstance(target, ast.Name | ast.Attribute):
            self.bind(
                target, replace(join([replace(table, items=None, const=UNKNOWN), given]), own=table.own, ref=table.ref)
            )

    def _holder(self, target: ast.expr) -> frozenset[int]:
        """The object whose field something is."""
        while isinstance(target, ast.Attribute | ast.Subscript):
            target = target.value
        if isinstance(target, ast.Name) and (value := self.scope.get(target.id)) is not None:
            if isinstance(value.ref, Instance):
                return frozenset({value.ref.number})
        return NONE

    # ------------------------------------------------------------------ the program's own

    def _create(self, kind: Class, node: ast.Call, args: list[Value], named: dict[str, Value]) -> Value:
        if any(base in ("Optimizer",) or base.endswith(("Optimizer", "Muon")) for base in _bases(kind.node)):
            movable = join([elements(value) for value in args[:1] or list(named.values())[:1]])
            return Value(what="optimizer", own=movable.own, born=self.clock)
        if kind.module:
            return replace(self.made(*args, *named.values(), what="model"), data=NONE, loss=False)
        number = self.number()
        instance = Instance(kind=kind, number=number, fields=dict(kind.attributes))
        value = Value(own=frozenset({number}), what="instance", ref=instance, born=self.clock)
        init = kind.method("__init__")
        if init is not None:
            self.call_function(Function(node=init, scope=kind.scope, self_value=value), node, args, named)
        else:
            fields = [
                s.target.id for s in kind.node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)
            ]
            instance.fields.update(zip(fields, args, strict=False))
            instance.fields.update(named)
        return replace(value, used=union(v.own for v in args))

    def call_function(
        self, function: Function, node: ast.AST, args: Sequence[Value], named: Mapping[str, Value]
    ) -> Value:
        """Follow a call of a function of the program."""
        made = function.node
        inputs = [*args, *named.values()] + ([function.self_value] if function.self_value is not None else [])
        if made in self.running or len(self.running) > MOST_CALLS_DEEP:
            return mixed(inputs, self.clock)
        scope = Scope({}, function.scope)
        outer_scope = self.scope
        self._bind_arguments(function, scope, list(args), dict(named))
        if isinstance(made, ast.Lambda):
            self.scope = scope
            self.running.append(made)
            found = self.evaluate(made.body)
            self.running.pop()
            self.scope = outer_scope
            return found
        block = Block(
            kind="call",
            file=self.file,
            line=getattr(node, "lineno", 0),
            name=made.name,
            number=self.number(),
            parent=self.block,
        )
        file, self.block = self.file, block
        self.file = self._file_of(function.scope)
        self.scope = scope
        self.running.append(made)
        scope.names["<return>"] = NOTHING
        returned: list[Value] = []
        self.returns.append(returned)
        self.run_body(made.body)
        self.returns.pop()
        self.running.pop()
        self.scope, self.block, self.file = outer_scope, block.parent or block, file
        self.clock += 1
        block.closed = self.clock
        result = join(returned)
        own_object = function.self_value
        if own_object is not None and isinstance(own_object.ref, Instance):
            result = replace(result, used=result.used | {own_object.ref.number})
            if not result.data and result.const is UNKNOWN and made.name != "__init__":
                held = union(v.data for v in own_object.ref.fields.values())
                result = replace(result, data=held, items=None)
        return result

    returns: list[list[Value]]

    def _file_of(self, scope: Scope) -> str:
        top: Scope = scope
        while top.parent is not None:
            top = top.parent
        return next((file for file, module in self.modules.items() if module is top), self.file)

    def _bind_arguments(self, function: Function, scope: Scope, args: list[Value], named: dict[str, Value]) -> None:
        spec = function.node.args
        names = [a.arg for a in (*spec.posonlyargs, *spec.args)]
        if function.self_value is not None and names:
            args = [function.self_value, *args]
        outer, self.scope = self.scope, function.scope
        defaults = [self.evaluate(default) for default in spec.defaults]
        for name, value in zip(names[len(names) - len(defaults) :], defaults, strict=True):
            scope.names[name] = value
        for argument, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
            scope.names[argument.arg] = self.evaluate(default)
        self.scope = outer
        for name in names:
            scope.names.setdefault(name, Value(data=library.tokens_called(name)))
        scope.names.update(zip(names, args, strict=False))
        if spec.vararg is not None:
            rest = args[len(names) :]
            scope.names[spec.vararg.arg] = Value(items=tuple(rest))
        known = {*names, *(a.arg for a in spec.kwonlyargs)}
        if spec.kwarg is not None:
            scope.names[spec.kwarg.arg] = Value(named={k: v for k, v in named.items() if k not in known})
        scope.names.update({k: v for k, v in named.items() if k in known})


def _dotted(node: ast.Attribute) -> str:
    """The whole name of what is called; its last part alone where it hangs on no name."""
    parts = [node.attr]
    root = node.value
    while isinstance(root, ast.Attribute):
        parts.append(root.attr)
        root = root.value
    return ".".join([root.id, *reversed(parts)]) if isinstance(root, ast.Name) else node.attr


def _library_root(node: ast.Attribute) -> bool:
    """Whether what is called is a function of a library and no method of a value."""
    root: Any = node
    while isinstance(root, ast.Attribute):
        root = root.value
    return isinstance(root, ast.Name) and root.id in (
        "torch",
        "np",
        "numpy",
        "F",
        "nn",
        "math",
        "copy",
        "functools",
        "itertools",
    )


def _wants_gradient(tail: str, named: Mapping[str, Value]) -> bool:
    return tail == "Parameter" or ("requires_grad" in named and named["requires_grad"].const is not False)


def _bases(node: ast.ClassDef) -> list[str]:
    return [
        b.attr if isinstance(b, ast.Attribute) else b.id for b in node.bases if isinstance(b, ast.Attribute | ast.Name)
    ]
