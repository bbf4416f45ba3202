"""The parsers of a submission's parts, as far as they are there."""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from fairway.verify.claims.claim import Claim
from fairway.verify.logs.facts import LogFacts
from fairway.verify.programs.program import Programs
from fairway.verify.tree import Tree


def read_claim(tree: Tree) -> tuple[str | None, Claim | None, str]:
    """File, claim and text of submission.json."""
    parse = _parser("claims", "read_claim")
    return (None, None, "") if parse is None else parse(tree)


def read_logs(tree: Tree, programs: Programs) -> tuple[LogFacts, ...]:
    """Every log of the folder."""
    parse = _parser("logs", "read_logs")
    return () if parse is None else parse(tree, programs)


def read_programs(tree: Tree) -> Programs:
    """Every program of the folder."""
    parse = _parser("programs", "read_programs")
    return Programs(main=None) if parse is None else parse(tree)


def _parser(part: str, name: str) -> Callable[..., Any] | None:
    package = importlib.import_module(f"fairway.verify.{part}")
    for module in pkgutil.iter_modules(package.__path__):
        found = getattr(importlib.import_module(f"fairway.verify.{part}.{module.name}"), name, None)
        if callable(found):
            return found
    return None
