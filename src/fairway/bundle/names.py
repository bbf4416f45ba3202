"""Short names for what is the program's own: fields, methods, parameters and the keywords that name them.

A minifier cannot tell whose an attribute is; here it is known. A name gets a new one everywhere at once - as variable,
parameter, keyword, attribute - so nothing is captured, provided that no library and no text knows it by its name.
A name is left alone if it stands on ``SHARED``, if some string is equal to it, if a call of foreign code passes it as
a keyword, or if it is written out by ``asdict``.
"""

import ast
import itertools
import keyword
import string
from collections import Counter
from collections.abc import Collection, Iterator

SHARED = frozenset(
    """
    _parts _values add all any append attention backward barrier base bits block bytes checkpoint chunk compile
    cos count data decoder device dtype embedding encoder end eps error flat flip fold forward function grad
    groups hooks index inverse keys kind log max mean metadata model name names norm number optim parameters
    parents path place prefix quantized raw reason remove reset rotate seconds seed shape sign sin span split
    start std step stop stream streams stride take tensor to trace train update values vocab_size wait where
    """.split()
)
"""Names of ours that attributes of libraries have too; a test says when one is missing."""

_CONSISTENT = ("replace",)
"""Foreign functions whose keywords are our fields."""


def shortened(tree: ast.Module, kept_fields: Collection[str]) -> None:
    """Rename in place; ``kept_fields`` are those that ``asdict`` writes out."""
    attributes, parameters = own_names(tree)
    own = attributes | parameters
    foreign = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} - attributes
    fixed = foreign | SHARED | set(kept_fields) | strings(tree) | _foreign_keywords(tree)
    counts = Counter(name for name in _identifiers(tree) if name in own and name not in fixed and len(name) > 1)
    counts = Counter({name: count for name, count in counts.items() if not name.startswith("__")})
    taken = set(_identifiers(tree))
    fresh = (name for name in _short_names() if name not in taken)
    new = {name: next(fresh) for name, _ in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = new.get(node.id, node.id)
        elif isinstance(node, ast.Attribute):
            node.attr = new.get(node.attr, node.attr)
        elif isinstance(node, ast.arg | ast.keyword) and node.arg is not None:
            node.arg = new.get(node.arg, node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.name = new.get(node.name, node.name)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            node.name = new.get(node.name, node.name)
        elif isinstance(node, ast.alias):
            bound = node.asname or node.name
            if bound in new:
                node.asname = new[bound]
        elif isinstance(node, ast.Nonlocal | ast.Global):
            node.names = [new.get(name, name) for name in node.names]


def own_names(tree: ast.Module) -> tuple[set[str], set[str]]:
    """Names of fields, methods and attributes of ``self``; and of parameters."""
    own: set[str] = set()
    parameters: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            for each in node.body:
                if isinstance(each, ast.FunctionDef):
                    own.add(each.name)
                elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                    own.add(each.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                own.add(node.attr)
        elif isinstance(node, ast.arguments):
            parameters.update(each.arg for each in [*node.args, *node.kwonlyargs])
    return own, parameters


def _identifiers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.arg | ast.keyword) and node.arg is not None:
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ExceptHandler) and node.name:
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name.split(".")[0]


def strings(tree: ast.Module) -> set[str]:
    """Every text of a program."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def _foreign_keywords(tree: ast.Module) -> set[str]:
    """Keywords of calls whose function is not ours, or that land in ``**`` of one that is."""
    functions: dict[str, list[ast.arguments]] = {}
    fields: dict[str, set[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            functions.setdefault(node.name, []).append(node.args)
        elif isinstance(node, ast.ClassDef):
            names = {e.target.id for e in node.body if isinstance(e, ast.AnnAssign) and isinstance(e.target, ast.Name)}
            fields[node.name] = names
            inits = [e.args for e in node.body if isinstance(e, ast.FunctionDef) and e.name == "__init__"]
            functions.setdefault(node.name, []).extend(inits)
    foreign: set[str] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        passed = {each.arg for each in node.keywords if each.arg is not None}
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in _CONSISTENT and isinstance(node.func, ast.Name):
            continue
        known = set(fields.get(name, set()))
        for arguments in functions.get(name, []):
            known |= {arg.arg for arg in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
        foreign |= passed if name in SHARED else passed - known
    return foreign


def _short_names() -> Iterator[str]:
    letters = string.ascii_letters
    for size in (1, 2):
        for parts in itertools.product(letters, repeat=size):
            name = "".join(parts)
            if not keyword.iskeyword(name) and not keyword.issoftkeyword(name):
                yield name
