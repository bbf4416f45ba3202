"""A program read from its first line to its last: what it does, in order, with loops and calls around it."""

import ast
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fairway.verify.trace.calls import Caller
from fairway.verify.trace.evaluate import RANGE, GaveUp
from fairway.verify.trace.events import Block, Trace
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
)

_TWICE_DEEP = 2


def follow(file: str, tree: ast.Module, helpers: Mapping[str, ast.Module], switches: Switches) -> Trace:
    """What the program in ``tree`` does; ``helpers``: other modules by file; ``switches``: settings of the run."""
    walker = Walker(switches)
    walker.sources = {name.rsplit("/", 1)[-1].removesuffix(".py"): (name, module) for name, module in helpers.items()}
    try:
        walker.module(file, tree)
    except GaveUp as error:
        walker.trace.gave_up = str(error)
    except RecursionError:
        walker.trace.gave_up = "nested too deeply"
    return walker.trace


class Walker(Caller):
    """Statements."""

    def __init__(self, switches: Switches) -> None:
        super().__init__(switches)
        self.sources: dict[str, tuple[str, ast.Module]] = {}
        self.heads: Counter[str] = Counter()
        self._assigned: dict[int, set[str]] = {}
        self._doing: dict[type[ast.stmt], Any] = {}
        self.returns = [[]]

    def module(self, file: str, tree: ast.Module) -> Scope:
        """Run a module from top to bottom, once."""
        if file in self.modules:
            return self.modules[file]
        if self.switches.marks:
            self.heads.update(_heads(tree.body))
        scope = self.modules[file] = Scope({"__name__": Value(const="__main__" if not self.modules else file)})
        kept = self.scope, self.file
        self.scope, self.file = scope, file
        if not self.block.file:
            self.block.file = file
        for stmt in tree.body:  # a function may be named before the line that defines it
            if isinstance(stmt, ast.FunctionDef | ast.AsyncFunctionDef):
                scope.names[stmt.name] = Value(ref=Function(node=stmt, scope=scope), what="function")
        self.run_body(tree.body)
        self.scope, self.file = kept
        return scope

    def run_body(self, body: Sequence[ast.stmt]) -> bool:
        """Walk statements; whether they end the course of what they stand in."""
        for stmt in body:
            kind = type(stmt)
            if kind not in self._doing:
                self._doing[kind] = getattr(self, f"_do_{kind.__name__.lower()}", None)
            if (method := self._doing[kind]) is not None:
                if method(stmt):
                    return True
            else:
                for child in ast.iter_child_nodes(stmt):
                    if isinstance(child, ast.expr):
                        self.evaluate(child)
        return False

    # ------------------------------------------------------------------ binding

    def bind(self, target: ast.expr, value: Value) -> None:
        """Give a value to the target of an assignment."""
        if isinstance(target, ast.Name):
            self.scope.put(target.id, value)
        elif isinstance(target, ast.Tuple | ast.List):
            for position, part in enumerate(target.elts):
                if (
                    value.items is not None
                    and len(value.items) == len(target.elts)
                    and not isinstance(part, ast.Starred)
                ):
                    self.bind(part, value.items[position])
                else:
                    self.bind(part, elements(value))
        elif isinstance(target, ast.Starred):
            self.bind(target.value, value)
        elif isinstance(target, ast.Subscript):
            self._put_into(target.value, value, self.evaluate(target.slice))
        elif isinstance(target, ast.Attribute):
            base = self.evaluate(target.value)
            if isinstance(base.ref, Instance):
                starting = self.running and getattr(self.running[-1], "name", "") == "__init__"
                old = base.ref.fields.get(target.attr)
                new = value if starting or old is None else join([old, replace(value, const=UNKNOWN)])
                base.ref.fields[target.attr] = new if starting else replace(new, const=UNKNOWN)
            elif not base.own and isinstance(target.value, ast.Name | ast.Attribute) and (value.data or value.own):
                self._put_into(target.value, value, NOTHING)

    def _put_into(self, container: ast.expr, value: Value, index: Value) -> None:
        """What a container holds once a value was put into it."""
        if isinstance(container, ast.Subscript):
            self._put_into(container.value, value, index)
            return
        old = self.evaluate(container)
        if old.what == "model" or isinstance(old.ref, Instance):
            return
        named = None
        if old.named is not None and isinstance(index.const, str):
            named = {**old.named, index.const: value}
        picked = value.picked if value.picked is not None else (self.picking if value.loss else None)
        grown = join(
            [replace(old, const=UNKNOWN, items=None, named=None), replace(value, const=UNKNOWN, items=None, named=None)]
        )
        grown = replace(grown, data=grown.data | index.data, turns=grown.turns | index.turns, named=named, ref=old.ref)
        self.bind(container, replace(grown, picked=picked if picked is not None else old.picked))

    # ------------------------------------------------------------------ assignments

    def _do_assign(self, stmt: ast.Assign) -> None:
        if all(isinstance(target, ast.Name) and target.id == "_" for target in stmt.targets):
            self.discarded = stmt.value
        value = self.evaluate(stmt.value)
        self.discarded = None
        for target in stmt.targets:
            if isinstance(target, ast.Name) and _adds_to(target.id, stmt.value):
                self._summed(stmt, target, value)
            elif isinstance(target, ast.Name) and not self._looping() and _is_sum(stmt.value):
                self._summed(stmt, target, value)
            elif isinstance(target, ast.Subscript) and value.loss and "val" in value.data:
                self.note("score", stmt, value, value.used | value.own, picked=value.picked, name=ast.unparse(target))
            if value.loss and self.picking is not None and value.picked is None:
                value = replace(value, picked=self.picking)
            self.bind(target, value)
            self._watch_limit(stmt, target, stmt.value)

    def _do_annassign(self, stmt: ast.AnnAssign) -> None:
        if stmt.value is not None:
            self.bind(stmt.target, self.evaluate(stmt.value))
            self._watch_limit(stmt, stmt.target, stmt.value)

    def _do_augassign(self, stmt: ast.AugAssign) -> None:
        value = self.evaluate(stmt.value)
        old = self.evaluate(stmt.target)
        if isinstance(stmt.op, ast.Add):
            self._summed(stmt, stmt.target, value)
        if isinstance(stmt.op, ast.Mult) and value.match and old.loss:
            self.note("zeroed", stmt, old, old.used)
        if isinstance(stmt.op, ast.Sub) and "wallclock" in ast.unparse(stmt.target).lower():
            self.trace.reserves.append((self.file, stmt.lineno))
        whole = mixed([old, value], self.clock)
        if isinstance(stmt.target, ast.Subscript):
            table = self.evaluate(stmt.target.value)
            counted = "val" in (index := self.evaluate(stmt.target.slice)).data or "val" in value.data
            if isinstance(stmt.op, ast.Add) and counted and not value.loss:
                given = mixed([index, value], self.clock)
                self.note("build", stmt, given, table.own | self._holder(stmt.target))
            self._put_into(stmt.target.value, whole, index)
            return
        self.bind(
            stmt.target, replace(whole, own=old.own | value.own if old.own else old.own, ref=old.ref, const=UNKNOWN)
        )

    def _summed(self, stmt: ast.stmt, target: ast.expr, value: Value) -> None:
        name = ast.unparse(target)
        if not value.loss and ("bytes" in value.data or "byte" in name.lower().rsplit(".", 1)[-1]):
            self.note("bytes", stmt, value, NONE, name=name)
        elif value.loss and "val" in value.data:
            self.note("score", stmt, value, value.used | value.own, picked=value.picked, name=name)

    def _looping(self) -> bool:
        """Whether a loop runs in the function that is looked at."""
        return any(loop.within_frame(self.block.frame()) for loop in self.block.loops())

    def _watch_limit(self, stmt: ast.stmt, target: ast.expr, value: ast.expr) -> None:
        """Time taken off what training may take."""
        name = target.id if isinstance(target, ast.Name) else target.attr if isinstance(target, ast.Attribute) else ""
        if "wallclock" not in name.lower() and "max_ms" not in name.lower():
            return
        for node in ast.walk(value):
            if (
                isinstance(node, ast.BinOp)
                and isinstance(node.op, ast.Sub)
                and "wallclock" in ast.unparse(node.left).lower()
            ):
                if "perf_counter" not in ast.unparse(node):
                    self.trace.reserves.append((self.file, stmt.lineno))

    # ------------------------------------------------------------------ courses

    def _do_if(self, stmt: ast.If) -> bool:
        test = self.evaluate(stmt.test)
        if _is_main(stmt.test):
            return self.run_body(stmt.body) if self.scope.names.get("__name__") == Value(const="__main__") else False
        if test.const is not UNKNOWN and not self._left_a_mark(stmt.orelse if test.const else stmt.body):
            taken, left = (stmt.body, stmt.orelse) if test.const else (stmt.orelse, stmt.body)
            if left:
                self.trace.off.append((self.file, left[0].lineno, ast.unparse(stmt.test)[:80]))
            return self.run_body(taken)
        before = dict(self.scope.names)
        kept, self.picking = self.picking, stmt.lineno if test.smaller else self.picking
        block, choice = self.block, self.number()
        self.block = self._arm(stmt, block, choice, 0, test.last)
        ended = self.run_body(stmt.body)
        self.block, self.picking = block, kept
        after = self.scope.names
        self.scope.names = dict(before)
        if stmt.orelse:
            self.block = self._arm(stmt, block, choice, 1, None)
        else_ended = self.run_body(stmt.orelse)
        self.block = block
        if ended and else_ended:
            return True
        if else_ended:
            self.scope.names = after
        elif not ended:
            self._meet(after)
        return False

    def _left_a_mark(self, body: Sequence[ast.stmt]) -> bool:
        """Whether the logs hold a line that only these statements print, whatever the settings say."""
        here = _heads(body)
        return any(head in self.switches.marks and self.heads[head] == count for head, count in here.items())

    def _arm(self, stmt: ast.If, parent: Block, choice: int, arm: int, last: int | None) -> Block:
        return Block(kind="branch", file=self.file, line=stmt.lineno, number=choice, arm=arm, parent=parent, last=last)

    def _meet(self, other: dict[str, Value]) -> None:
        """Join the names of another course into those of this one."""
        names = self.scope.names
        for name, value in other.items():
            mine = names.get(name)
            if mine is not value:
                names[name] = value if mine is None else join([mine, value])

    def _do_for(self, stmt: ast.For) -> None:
        over = self._iterated(self.evaluate(stmt.iter), stmt)
        steps = _empty_range(stmt.iter, self)
        if steps or over.const == () or over.items == ():
            self.trace.off.append((self.file, stmt.lineno, ast.unparse(stmt.iter)[:80]))
            return
        name = f"{ast.unparse(stmt.target)} in {ast.unparse(stmt.iter)}"[:120]
        counted = isinstance(stmt.iter, ast.Call) and self.evaluate(stmt.iter.func).ref == RANGE
        self._loop(stmt.body, stmt.lineno, name, stmt.target, elements(over), steady=True, counted=counted)
        self.run_body(stmt.orelse)

    _do_asyncfor = _do_for

    def _iterated(self, over: Value, stmt: ast.For) -> Value:
        """What an object of the program gives when it is looped over."""
        if not isinstance(over.ref, Instance):
            return over
        for name in ("__iter__", "__next__", "__getitem__"):
            if (method := over.ref.kind.method(name)) is not None:
                return self.call_function(
                    Function(node=method, scope=over.ref.kind.scope, self_value=over), stmt, [], {}
                )
        return over

    def _do_while(self, stmt: ast.While) -> None:
        self._loop(
            stmt.body, stmt.lineno, f"while {ast.unparse(stmt.test)}"[:120], None, NOTHING, steady=False, test=stmt.test
        )
        self.run_body(stmt.orelse)

    def _loop(
        self,
        body: Sequence[ast.stmt],
        line: int,
        name: str,
        target: ast.expr | None,
        one: Value,
        *,
        steady: bool,
        counted: bool = False,
        test: ast.expr | None = None,
    ) -> None:
        block = Block(
            kind="loop",
            file=self.file,
            line=line,
            name=name,
            number=self.number(),
            parent=self.block,
            steady=steady,
            counted=counted,
        )
        changed = self._assigned.get(id(body))
        if changed is None:
            changed = self._assigned[id(body)] = _assigned(body)
        for changing in changed:
            if (value := self.scope.names.get(changing)) is not None and value.const is not UNKNOWN:
                self.scope.names[changing] = replace(value, const=UNKNOWN)
        if test is not None and self.evaluate(test).const is False:
            return
        deep = len(self.block.loops())
        outer, self.block = self.block, block
        for turn in range(2 if deep < _TWICE_DEEP else 1):
            before = dict(self.scope.names)
            kept = len(self.trace.events)
            if target is not None:
                self.bind(target, replace(one, turns=one.turns | {block.number}, const=UNKNOWN))
            self.run_body(body)
            self._meet(before)
            if turn == 0 and deep < _TWICE_DEEP:
                del self.trace.events[kept:]
        self.block = outer
        self.clock += 1
        block.closed = self.clock

    def _do_with(self, stmt: ast.With) -> bool:
        for item in stmt.items:
            value = self.evaluate(item.context_expr)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, value)
        return self.run_body(stmt.body)

    _do_asyncwith = _do_with

    def _do_try(self, stmt: ast.Try) -> bool:
        ended = self.run_body(stmt.body)
        before = dict(self.scope.names)
        for handler in stmt.handlers:
            self.run_body(handler.body)
            self._meet(before)
        if not ended:
            ended = self.run_body(stmt.orelse)
        return self.run_body(stmt.finalbody) or ended

    _do_trystar = _do_try

    def _do_match(self, stmt: ast.Match) -> None:
        self.evaluate(stmt.subject)
        before = dict(self.scope.names)
        for case in stmt.cases:
            self.run_body(case.body)
            self._meet(before)

    def _do_return(self, stmt: ast.Return) -> bool:
        self.returns[-1].append(self.evaluate(stmt.value))
        return True

    def _do_expr(self, stmt: ast.Expr) -> bool:
        if isinstance(stmt.value, ast.Yield | ast.YieldFrom):
            self.returns[-1].append(replace(self.evaluate(stmt.value.value), items=None))
            return False
        self.discarded = stmt.value
        self.evaluate(stmt.value)
        self.discarded = None
        call = stmt.value
        return isinstance(call, ast.Call) and ast.unparse(call.func) in ("sys.exit", "exit", "os._exit", "quit")

    def _do_raise(self, stmt: ast.Raise) -> bool:
        return True

    def _do_break(self, stmt: ast.Break) -> bool:
        return True

    def _do_continue(self, stmt: ast.Continue) -> bool:
        return True

    def _do_delete(self, stmt: ast.Delete) -> None:
        for target in stmt.targets:
            if isinstance(target, ast.Name):
                self.scope.names.pop(target.id, None)

    def _do_global(self, stmt: ast.Global | ast.Nonlocal) -> None:
        self.scope.outer |= frozenset(stmt.names)

    _do_nonlocal = _do_global

    # ------------------------------------------------------------------ definitions

    def _do_functiondef(self, stmt: ast.FunctionDef) -> None:
        self.scope.put(stmt.name, Value(ref=Function(node=stmt, scope=self.scope), what="function"))

    _do_asyncfunctiondef = _do_functiondef

    def _do_classdef(self, stmt: ast.ClassDef) -> None:
        bases = [self.evaluate(base) for base in stmt.bases]
        parents = [base.ref for base in bases if isinstance(base.ref, Class)]
        names = [b.attr if isinstance(b, ast.Attribute) else getattr(b, "id", "") for b in stmt.bases]
        network = any(parent.module for parent in parents) or any(
            n in ("Module", "ModuleList", "Linear", "Sequential", "Embedding", "Function", "LightningModule")
            for n in names
        )
        made = Class(node=stmt, scope=self.scope, module=network, attributes={})
        for parent in parents:
            made.attributes.update(parent.attributes)
        self.scope.put(stmt.name, Value(ref=made, what="class"))
        if network:
            return
        outer, self.scope = self.scope, Scope({}, self.scope)
        self.run_body([s for s in stmt.body if not isinstance(s, ast.FunctionDef | ast.AsyncFunctionDef)])
        for name, value in self.scope.names.items():
            made.attributes[name] = self._set_by_logs(name, value)
        self.scope = outer

    def _set_by_logs(self, name: str, value: Value) -> Value:
        if value.ref is not None or value.own:
            return value
        const = self.switches.of_attribute(name, value.const)
        return value if const is value.const else replace(value, const=const)

    def _do_import(self, stmt: ast.Import) -> None:
        for alias in stmt.names:
            if alias.name in self.sources:
                scope = self._import(alias.name)
                made = Class(node=_EMPTY, scope=scope, module=False, attributes=scope.names)
                self.scope.put(alias.asname or alias.name, Value(ref=made, what="class"))

    def _do_importfrom(self, stmt: ast.ImportFrom) -> None:
        name = (stmt.module or "").rsplit(".", 1)[-1]
        if name in self.sources:
            scope = self._import(name)
            for alias in stmt.names:
                if (value := scope.names.get(alias.name)) is not None:
                    self.scope.put(alias.asname or alias.name, value)

    def _import(self, name: str) -> Scope:
        file, tree = self.sources[name]
        return self.module(file, tree)


_EMPTY = ast.ClassDef(name="module", bases=[], keywords=[], body=[], decorator_list=[])


def _heads(body: Sequence[ast.stmt]) -> Counter[str]:
    """The first words of what statements print, as far as they are constant."""
    found: Counter[str] = Counter()
    for node in (node for stmt in body for node in ast.walk(stmt)):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        text = node.args[0]
        if isinstance(text, ast.JoinedStr) and text.values:
            text = text.values[0]
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and (words := text.value.split()):
            found[words[0]] += 1
    return found


def _is_main(test: ast.expr) -> bool:
    return isinstance(test, ast.Compare) and isinstance(test.left, ast.Name) and test.left.id == "__name__"


def _adds_to(name: str, value: ast.expr) -> bool:
    """Whether a value is the old value of a name and something more."""
    return (
        isinstance(value, ast.BinOp)
        and isinstance(value.op, ast.Add)
        and any(isinstance(side, ast.Name) and side.id == name for side in (value.left, value.right))
    )


def _is_sum(value: ast.expr) -> bool:
    """Whether a value is a sum over an array."""
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sum"
        for node in ast.walk(value)
    )


def _empty_range(over: ast.expr, walker: Walker) -> bool:
    """Whether a loop runs over a range that is known to be empty."""
    if not (isinstance(over, ast.Call) and isinstance(over.func, ast.Name) and over.func.id == "range"):
        return False
    ends = [walker.evaluate(arg).const for arg in over.args]
    if not ends or not all(isinstance(end, int) for end in ends):
        return False
    return not range(*ends) if len(ends) < 3 or ends[2] != 0 else False


def _assigned(body: Sequence[ast.stmt]) -> set[str]:
    """Names that statements give values to, in nested functions too."""
    found: set[str] = set()
    for stmt in body:
        for node in ast.walk(stmt):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
    return found
