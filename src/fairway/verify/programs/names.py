"""Whole names of what a program calls, however it imported them."""

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache

from fairway.verify.programs.nodes import all_nodes


@lru_cache(maxsize=64)
def aliases(tree: ast.Module) -> Mapping[str, str]:
    """Name in the program to the dotted name that it was imported as."""
    found: dict[str, str] = {}
    for node in all_nodes(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                found[one.asname or one.name.split(".")[0]] = one.name if one.asname else one.name.split(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for one in node.names:
                found[one.asname or one.name] = f"{node.module}.{one.name}"
    return found


def dotted(node: ast.AST, known: Mapping[str, str]) -> str:
    """``subprocess.run`` of ``sp.run``; empty for what is no name, with attributes or without."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Call) and (way := dotted(node.func, known)) in ("__import__", "importlib.import_module"):
        first = node.args[0] if node.args else None
        if not (isinstance(first, ast.Constant) and isinstance(first.value, str)):
            return ""
        # The builtin gives the outermost package, whatever part of it was named.
        parts.append(first.value.split(".")[0] if way == "__import__" else first.value)
    elif isinstance(node, ast.Name):
        parts.append(known.get(node.id, node.id))
    else:
        return ""
    return ".".join(reversed(parts))


def calls(tree: ast.Module) -> Iterator[tuple[str, ast.Call]]:
    """Every call with the whole name of what it calls; empty where that is no name."""
    known = aliases(tree)
    for node in all_nodes(tree):
        if isinstance(node, ast.Call):
            yield dotted(node.func, known), node
