"""The nodes of a syntax tree, gathered once: many rules look at all of them."""

import ast
from functools import lru_cache


@lru_cache(maxsize=32)
def all_nodes(tree: ast.AST) -> tuple[ast.AST, ...]:
    """Every node at or below ``tree``, as ``ast.walk`` gives them; the tree must not change any more."""
    return tuple(ast.walk(tree))
