"""What can be seen, without running either, of whether a readable file is the source of a packed program.

A bundler settles what the recipe settles, drops what is never reached and shortens names, so the two texts are not
equal, and nobody proves two programs equal. Three things can be seen, from strong to weak: the packed program is the
source byte for byte; it names the source by its SHA-256, so the source is the one that it was made from by its own
account; every word of it (imports, attributes, keywords, texts, names that are not shortened) occurs in the source.
"""

import ast
import hashlib
import re
import warnings
from typing import Literal

Likeness = Literal["text", "named", "words"]

_WORD = re.compile(r"[^\W\d]\w{3,}")
"""Shorter ones may be names that a minifier made up."""


def likeness(source: str, program: str) -> Likeness | None:
    """The strongest of what can be seen; None where the program has a word that the source has not."""
    if source == program:
        return "text"
    if strangers(source, program):
        return None
    return "named" if _name_of(source) in program else "words"


def strangers(source: str, program: str) -> list[str]:
    """Words of a program that its source has not, sorted."""
    return sorted(words(program.replace(_name_of(source), "")) - words(source))


def _name_of(source: str) -> str:
    return hashlib.sha256(source.encode("utf-8")).hexdigest()


def words(text: str) -> frozenset[str]:
    """Every word of four letters or more that a program acts by; comments and docstrings do not act.

    ``ValueError`` (or a subclass) if the text is no Python.
    """
    found: set[str] = set()
    for node in ast.walk(_parsed(text)):
        match node:
            case ast.Constant(value=str(value)):
                found.update(_WORD.findall(value))
            case ast.Constant(value=bytes(value)):
                found.update(_WORD.findall(value.decode("latin-1")))
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                found.update(_WORD.findall(name))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.update(_WORD.findall(name))
            case ast.alias(name=name) | ast.ImportFrom(module=str(name)):
                found.update(_WORD.findall(name))
    return frozenset(found)


def _parsed(text: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"is no Python: {type(error).__name__}: {str(error)[:80]}") from error
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                setattr(node, field, [each for each in block if not _is_text(each)])
    return tree


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
