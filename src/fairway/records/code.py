"""Which modules are shipped, what names them, and what a program requires to run."""

import ast
import hashlib
import importlib.metadata
import importlib.resources
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from fairway.errors import FairwayError

SHIPPED = frozenset(
    {
        *("__init__", "errors", "spec", "runtime", "kernels", "model", "optim", "data"),
        *("train", "quant", "score", "main", "launch", "prepare"),
    }
)
"""Modules and packages that a submission needs to train and score."""

WORKSHOP = frozenset({"recipes", "fetch", "bundle", "machine", "verify", "records", "studies", "probes", "cli"})
"""Those that make, judge and explain submissions; none of them is shipped."""


def shipped_sources(package: Path | None = None) -> dict[str, bytes]:
    """Path (``fairway/...``) to source of every shipped module, sorted by path.

    ``package`` is the folder of the installed fairway unless another is given.
    """
    root = _installed_package() if package is None else package
    files = [path for path in root.rglob("*.py") if _top(path.relative_to(root)) in SHIPPED]
    names = {f"{root.name}/{path.relative_to(root).as_posix()}": path for path in files}
    return {name: names[name].read_bytes() for name in sorted(names)}


def bundle_sources() -> list[Path]:
    """Files that the bundler reads or consists of, sorted: what it makes of a recipe depends on no others here."""
    root = _installed_package()
    return sorted(path for path in root.rglob("*.py") if _top(path.relative_to(root)) in SHIPPED | {"bundle"})


def package_code() -> tuple[str, int]:
    """SHA-256 and bytes of the installed shipped modules: what a stage that the package runs says of its code.

    No record is made of such a run: a record's code is the one file that ran.
    """
    digest, size_bytes = hashlib.sha256(), 0
    for name, source in shipped_sources().items():
        digest.update(f"{name} {len(source)}\n".encode() + source)
        size_bytes += len(source)
    return digest.hexdigest(), size_bytes


def requirements(sources: Mapping[str, bytes]) -> str:
    """requirements.txt: each distribution that the sources import, pinned to the version installed here.

    A local version (``2.11.0+cpu``) is pinned by its public part, which is the one that indexes know. What no index
    has but the machine must is named in a comment.
    """
    providers = importlib.metadata.packages_distributions()
    pins = set()
    for module in sorted(_imported_modules(sources)):
        if module not in providers:
            raise FairwayError(f"requirements: the code imports {module}, which no installed distribution provides")
        # A module may be installed by several distributions (namespace packages): all of them are needed.
        for name in providers[module]:
            version = importlib.metadata.version(name).partition("+")[0]
            pins.add(f"{name.lower().replace('_', '-')}=={version}\n")
    comment = "# system package: a C compiler (torch.compile calls it)\n" if _compiles(sources) else ""
    return comment + "".join(sorted(pins))


def _compiles(sources: Mapping[str, bytes]) -> bool:
    """Whether a program hands functions to torch's compiler."""
    nodes = (node for tree in _trees(sources) for node in ast.walk(tree))
    return any(isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.compile" for node in nodes)


def _imported_modules(sources: Mapping[str, bytes]) -> set[str]:
    """Top-level names that are imported and belong neither to the standard library nor to the sources."""
    own = {name.partition("/")[0] for name in sources}
    found: set[str] = set()
    for tree in _trees(sources):
        for node in ast.walk(tree):
            found.update(module.partition(".")[0] for module in _modules_of(node))
    return found - own - sys.stdlib_module_names


def _trees(sources: Mapping[str, bytes]) -> list[ast.Module]:
    return [ast.parse(source, filename=name) for name, source in sources.items()]


def _modules_of(node: ast.AST) -> Iterable[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
        return [node.module]
    return []


def _installed_package() -> Path:
    package = importlib.resources.files("fairway")
    assert isinstance(package, Path), f"fairway must be installed as plain files, not as {package!r}"
    return package


def _top(relative: Path) -> str:
    return relative.parts[0].removesuffix(".py")
