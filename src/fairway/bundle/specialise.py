"""The program of one recipe: tests that it settles are taken out, with the branch that never runs.

Round after round, until nothing changes: decide tests (``knowledge``), drop what no reachable code names
(``prune``), and look again, for a branch that is gone may have been the only one to make an object of some class.
"""

import ast
from collections.abc import Sequence

from fairway.bundle.collect import Collected
from fairway.bundle.edits import Block, Region, Source, blocks
from fairway.bundle.knowledge import Knowledge, Scope, is_pure, replaced_fields, scope_of, scoped
from fairway.bundle.prune import prune, reach
from fairway.spec.recipe import Recipe

_WEAK = (ast.BoolOp, ast.IfExp, ast.Lambda, ast.NamedExpr, ast.Starred)
_ENDS = (ast.Return, ast.Raise, ast.Continue, ast.Break)


def specialise(program: Collected, recipe: Recipe, call: str) -> Collected:
    """The program without what ``recipe`` never takes; ``call`` is the text that starts it."""
    roots = [ast.parse(call)]
    sources = [Source(section.text) for section in program.sections]
    changes = (_settle, _shorten_specs, _drop_idle_fields, _prune)
    idle = 0
    while idle < len(changes):
        changes[0](sources, recipe, roots)
        changes = (*changes[1:], changes[0])
        texts = [source.edited() for source in sources]
        idle += 1
        for place, (source, text) in enumerate(zip(sources, texts, strict=True)):
            if text != source.text:
                sources[place], idle = Source(text), 0
    return program.with_texts([source.text for source in sources])


def _prune(sources: Sequence[Source], recipe: Recipe, roots: Sequence[ast.AST]) -> None:
    prune(sources, roots)


def _know(sources: Sequence[Source], recipe: Recipe) -> Knowledge:
    trees = [source.tree for source in sources]
    return Knowledge(trees, recipe, replaced_fields(trees))


def _settle(sources: Sequence[Source], recipe: Recipe, roots: Sequence[ast.AST]) -> None:
    knowledge = _know(sources, recipe)
    running = reach([source.tree for source in sources], roots, annotations=False).names
    idle = {name for name, node in knowledge.defs.items() if isinstance(node, ast.ClassDef)}
    idle -= running | knowledge.specs
    for source in sources:
        for node, scope in scoped(source.tree):
            if isinstance(node, ast.If):
                _settle_if(source, node, scope, knowledge)
            elif isinstance(node, ast.IfExp):
                _settle_choice(source, node, scope, knowledge)
            elif isinstance(node, ast.Call) and (known := knowledge.known(node, scope)) is not None:
                source.replace(node, str(known.value))
            elif isinstance(node, ast.While | ast.Assert):
                _settle_test(source, node.test, scope, knowledge)
            elif isinstance(node, ast.Match):
                _settle_match(source, node, scope, knowledge)
            elif isinstance(node, ast.FunctionDef):
                _drop_unused_locals(source, node, scope)
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
                _settle_union(source, node, knowledge, idle)
        for _, block in blocks(source.tree):
            _drop_after_end(source, block)


def _settle_if(source: Source, node: ast.If, scope: Scope | None, knowledge: Knowledge) -> None:
    known = knowledge.known(node.test, scope)
    if known is None:
        _settle_test(source, node.test, scope, knowledge)
        return
    assert node.end_lineno is not None
    is_elif = source.lines[node.lineno - 1].lstrip().startswith("elif")
    whole = Region(node.lineno if is_elif else source.region(node).first, node.end_lineno)
    body, rest = _suites(source, node)
    if known.value:
        if is_elif:
            lines = source.lines[body.first - 1 : body.last]
            source.put(whole, [" " * node.col_offset + "else:\n", *lines])
        else:
            source.unwrap(whole, body, node.col_offset)
    elif rest is None:
        if is_elif:
            source.put(whole, [])
        else:
            source.remove([node], _block_of(source, node))
    elif is_elif or _is_elif(source, node.orelse):
        first, *others = source.lines[rest.first - 1 : rest.last]
        if is_elif and not _is_elif(source, node.orelse):
            source.put(whole, [" " * node.col_offset + "else:\n", first, *others])
        else:
            head = first.replace("elif", "elif" if is_elif else "if", 1)
            source.put(whole, [head, *others])
    else:
        source.unwrap(whole, rest, node.col_offset)


def _suites(source: Source, node: ast.If) -> tuple[Region, Region | None]:
    """Lines of the first branch, and of the second without its ``else:`` (but with an ``elif``)."""
    assert node.end_lineno is not None
    header = node.test.end_lineno or node.lineno
    while not source.lines[header - 1].split("#")[0].rstrip().endswith(":"):
        header += 1
    if not node.orelse:
        return Region(header + 1, node.end_lineno), None
    last = node.body[-1].end_lineno
    assert last is not None
    start = last + 1
    while not source.lines[start - 1].lstrip().startswith(("else", "elif")):
        start += 1
    is_elif = _is_elif(source, node.orelse)
    return Region(header + 1, start - 1), Region(start if is_elif else start + 1, node.end_lineno)


def _is_elif(source: Source, orelse: Block) -> bool:
    return isinstance(orelse[0], ast.If) and source.lines[orelse[0].lineno - 1].lstrip().startswith("elif")


def _block_of(source: Source, node: ast.stmt) -> Block:
    return next(block for _, block in blocks(source.tree) if any(each is node for each in block))


def _settle_choice(source: Source, node: ast.IfExp, scope: Scope | None, knowledge: Knowledge) -> None:
    known = knowledge.known(node.test, scope)
    if known is None:
        _settle_test(source, node.test, scope, knowledge)
        return
    chosen = node.body if known.value else node.orelse
    source.replace(node, _enclosed(source, chosen))


def _enclosed(source: Source, node: ast.expr) -> str:
    text = source.segment(node)
    simple = (
        *(ast.Name, ast.Attribute, ast.Constant, ast.Call, ast.Subscript, ast.Tuple),
        *(ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp),
    )
    return text if isinstance(node, simple) else f"({text})"


def _settle_test(source: Source, test: ast.expr, scope: Scope | None, knowledge: Knowledge) -> None:
    """Take out of a conjunction (or disjunction) what is known to hold (or not to)."""
    if not isinstance(test, ast.BoolOp):
        return
    is_and = isinstance(test.op, ast.And)
    kept = []
    for value in test.values:
        known = knowledge.known(value, scope)
        if known is None or bool(known.value) != is_and:
            kept.append(value)
    if len(kept) < len(test.values) and kept:
        texts = [f"({source.segment(each)})" if isinstance(each, _WEAK) else source.segment(each) for each in kept]
        joined = (" and " if is_and else " or ").join(texts)
        source.replace(test, joined)


def _settle_match(source: Source, node: ast.Match, scope: Scope | None, knowledge: Knowledge) -> None:
    """Drop cases of classes that do not occur; a single case that must hold is unwrapped."""
    types = knowledge.types(node.subject, scope)
    assert node.end_lineno is not None
    for case in node.cases:
        pattern = case.pattern
        if not isinstance(pattern, ast.MatchClass) or not isinstance(pattern.cls, ast.Name):
            continue
        name, last = pattern.cls.id, case.body[-1].end_lineno
        assert last is not None
        if name in knowledge.absent or (types is not None and types and types <= knowledge.specs and name not in types):
            source.put(Region(pattern.lineno, last), [])
        elif types == frozenset({name}) and len(node.cases) == 1 and not pattern.patterns and not pattern.kwd_patterns:
            source.unwrap(Region(node.lineno, node.end_lineno), Region(pattern.lineno + 1, last), node.col_offset)


def _settle_union(source: Source, node: ast.BinOp, knowledge: Knowledge, idle: set[str]) -> None:
    """Drop members of a union that do not occur: no objects of them, or no use but in annotations beside a used one."""
    members: list[ast.expr] = []
    waiting: list[ast.expr] = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, ast.BinOp) and isinstance(each.op, ast.BitOr):
            waiting += [each.right, each.left]
        else:
            members.append(each)
    names = {each.id for each in members if isinstance(each, ast.Name)}
    gone = knowledge.absent | (idle if names & (knowledge.defs.keys() - idle) else set())
    kept = [each for each in members if not (isinstance(each, ast.Name) and each.id in gone)]
    if kept and len(kept) < len(members):
        source.replace(node, " | ".join(source.segment(each) for each in kept))


def _drop_after_end(source: Source, block: Block) -> None:
    for place, node in enumerate(block[:-1]):
        if isinstance(node, _ENDS):
            source.remove(block[place + 1 :], block)
            return


def _drop_unused_locals(source: Source, function: ast.FunctionDef, outer: Scope | None) -> None:
    """Drop names of a function that are bound to nothing but a name or a test, and functions in it, if never read."""
    scope = scope_of(function, None, outer)
    read = {node.id for node in ast.walk(function) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    read |= {name for node in ast.walk(function) if isinstance(node, ast.Nonlocal) for name in node.names}
    for owner, block in blocks(function):
        if isinstance(owner, ast.ClassDef):
            continue
        for node in block:
            if isinstance(node, ast.FunctionDef) and node is not function and node.name not in read:
                source.remove([node], block)
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and len(node.targets) == 1:
                name = node.targets[0].id
                if name not in read and name in scope.values and is_pure(node.value):
                    source.remove([node], block)


def _shorten_specs(sources: Sequence[Source], recipe: Recipe, roots: Sequence[ast.AST]) -> None:
    """Spec classes without checks and defaults (the recipe was checked), and without fields that nobody reads."""
    knowledge = _know(sources, recipe)
    read = fields_read(sources, knowledge)
    for source in sources:
        for node in source.tree.body:
            if not isinstance(node, ast.ClassDef) or node.name not in knowledge.specs:
                continue
            gone: list[ast.stmt] = []
            for place, each in enumerate(node.body):
                if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
                    if each.targets[0].id == "__pydantic_config__":
                        gone.append(each)
                if node.name in knowledge.made:
                    continue
                if isinstance(each, ast.FunctionDef) and each.name == "__post_init__":
                    gone.append(each)
                elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    if each.target.id not in read.get(node.name, set()):
                        following = node.body[place + 1 : place + 2]
                        gone += [each, *(one for one in following if isinstance(one, ast.Expr))]
                    elif each.value is not None:
                        source.change(source.span(each.annotation)[1], source.span(each)[1], "")
            source.remove(gone, node.body)


def _drop_idle_fields(sources: Sequence[Source], recipe: Recipe, roots: Sequence[ast.AST]) -> None:
    """Fields of named tuples that default to None, where nothing sets or reads a field of that name."""
    used = {name for source in sources for node in ast.walk(source.tree) for name in _names_used(node)}
    for source in sources:
        for node in source.tree.body:
            if not isinstance(node, ast.ClassDef) or "NamedTuple" not in {ast.unparse(base) for base in node.bases}:
                continue
            gone: list[ast.stmt] = []
            for place, each in enumerate(node.body):
                if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name) and each.target.id not in used:
                    if isinstance(each.value, ast.Constant) and each.value.value is None:
                        following = node.body[place + 1 : place + 2]
                        gone += [each, *(one for one in following if isinstance(one, ast.Expr))]
            source.remove(gone, node.body)


def _names_used(node: ast.AST) -> list[str]:
    """What may set or read a field: attributes, keywords, texts."""
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.keyword) and node.arg:
        return [node.arg]
    return [node.value] if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def fields_read(sources: Sequence[Source], knowledge: Knowledge) -> dict[str, set[str]]:
    """Fields of each spec class that the program reads, one by one or all at once (``asdict``)."""
    read: dict[str, set[str]] = {name: set() for name in knowledge.specs}

    def take_all(names: set[str]) -> None:
        for name in names & read.keys():
            for one in knowledge.instances.get(name, []):
                if set(one.__slots__) <= read[name]:
                    continue
                read[name] |= set(one.__slots__)
                take_all({type(getattr(one, each)).__name__ for each in one.__slots__})

    for source in sources:
        for node, scope in scoped(source.tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                types = knowledge.types(node.value, scope)
                for name in knowledge.specs if types is None else types & knowledge.specs:
                    read[name].add(node.attr)
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "asdict":
                types = knowledge.types(node.args[0], scope)
                take_all(set(knowledge.specs if types is None else types))
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "replace":
                for name in knowledge.specs:
                    read[name] |= {keyword.arg for keyword in node.keywords if keyword.arg}
    return read


def fields_written_out(sources: Sequence[Source], knowledge: Knowledge) -> set[str]:
    """Names of fields that ``asdict`` may turn into keys of a file."""
    found: set[str] = set()
    waiting: list[str] = []
    for source in sources:
        for node, scope in scoped(source.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "asdict":
                types = knowledge.types(node.args[0], scope)
                waiting += sorted(knowledge.defs if types is None else types)
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        definition = knowledge.defs.get(name)
        if name in seen or not isinstance(definition, ast.ClassDef):
            continue
        seen.add(name)
        for each in definition.body:
            if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                found.add(each.target.id)
                waiting += [one.id for one in ast.walk(each.annotation) if isinstance(one, ast.Name)]
    return found
