"""What a program imports, and whether the folder, the standard library, the image or requirements.txt has it."""

import ast
import posixpath
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from fairway.verify.programs.program import Program
from fairway.verify.tree import Tree

Kind = Literal["standard", "base", "customary", "local", "declared", "missing"]
_CATCHES = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]{0,100})")
_WHEEL = re.compile(
    r"/([A-Za-z0-9][A-Za-z0-9_.]{0,100})-[^/\s]{1,200}\.whl|[#&]egg=([\w.-]{1,100})|/([\w.-]{1,100}?)(?:\.git)?(?:@|\s|$)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One import of a program."""

    module: str
    """Its first part: ``torch`` of ``torch.nn``."""
    kind: Kind
    file: str
    line: int
    guarded: bool
    """Whether the program goes on without it: it stands where an ImportError is caught."""
    distributions: Sequence[str] = ()
    """Packages that bring it, where it is of no other name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """The data file of packages."""

    base: frozenset[str]
    customary: frozenset[str]
    commands: frozenset[str]
    standard: frozenset[str]
    distributions: Mapping[str, Sequence[str]]


@lru_cache(maxsize=1)
def packages() -> Packages:
    """What the image and the standard library have."""
    data = tomllib.loads((files("fairway.verify.programs") / "packages.toml").read_text(encoding="utf-8"))
    return Packages(
        base=frozenset(data["base"]),
        customary=frozenset(data["customary"]),
        commands=frozenset(data["commands"]),
        standard=frozenset(sys.stdlib_module_names) | frozenset(data["removed"]) | {"__future__", "__main__"},
        distributions=data["distributions"],
    )


def imports(program: Program, tree: Tree, requirements: str | None) -> tuple[Import, ...]:
    """Every module that a program imports, at its first import that is not guarded, else at its first."""
    if program.tree is None:
        return ()
    declared = required(requirements or "")
    found: dict[str, Import] = {}
    for module, line, guarded in _imported(program.tree):
        before = found.get(module)
        if before is not None and (guarded or not before.guarded):
            continue
        known = packages().distributions.get(module, (module,))
        found[module] = Import(
            module=module,
            kind=_kind(module, program, tree, declared),
            file=program.where,
            line=line,
            guarded=guarded,
            distributions=tuple(known),
        )
    return tuple(found.values())


def _kind(module: str, program: Program, tree: Tree, declared: frozenset[str]) -> Kind:
    known = packages()
    folder = posixpath.dirname(program.where)
    path = posixpath.join(folder, module)
    if module in known.standard:
        return "standard"
    # The folder of the script comes first on the path, then what is installed.
    if f"{path}.py" in tree.files or any(
        file.startswith(f"{path}/") or _is_extension(file, path) for file in tree.files
    ):
        return "local"
    if module in known.base:
        return "base"
    if any(_normal(name) in declared for name in known.distributions.get(module, (module,))):
        return "declared"
    return "customary" if module in known.customary else "missing"


def _is_extension(file: str, path: str) -> bool:
    return file.startswith(f"{path}.") and file.endswith((".so", ".pyd"))


def _imported(tree: ast.Module) -> Iterator[tuple[str, int, bool]]:
    """Module, line and whether it is guarded, in the order of the text."""
    waiting: list[tuple[ast.AST, bool]] = [(tree, False)]
    while waiting:
        node, guarded = waiting.pop()
        if isinstance(node, ast.Import):
            for one in node.names:
                yield one.name.split(".")[0], node.lineno, guarded
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.split(".")[0], node.lineno, guarded
        elif isinstance(node, ast.Try) and any(_catches(handler) for handler in node.handlers):
            rest = [*node.handlers, *node.orelse, *node.finalbody]
            # What an ImportError leads to may itself need something.
            waiting.extend((child, guarded) for child in reversed(rest))
            waiting.extend((child, True) for child in reversed(node.body))
            continue
        elif isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            waiting.extend((child, guarded) for child in reversed(node.orelse))
            continue
        waiting.extend((child, guarded) for child in reversed(list(ast.iter_child_nodes(node))))


def _catches(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(isinstance(one, ast.Name) and one.id in _CATCHES for one in types)


def required(text: str) -> frozenset[str]:
    """Packages that a requirements.txt names, by their normal names; addresses of wheels and repositories count."""
    found: set[str] = set()
    for line in text[:100_000].splitlines():
        entry = line.split(" #")[0].strip()[:500]
        if not entry or entry.startswith(("#", "--extra", "--index", "--find", "-f ", "-i ")):
            continue
        entry = entry.removeprefix("-e ").strip()
        if "://" in entry:
            before = entry.split("@")[0] if " @ " in entry else ""
            found.update(_normal(name) for match in _WHEEL.findall(entry) for name in match if name)
            entry = before
        if (match := _REQUIREMENT.match(entry)) is not None and not entry.startswith("-"):
            found.add(_normal(match.group(1)))
    return frozenset(found)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
