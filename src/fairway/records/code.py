"""The shipped modules as one archive that is the same every time, and what they require to run."""

import ast
import importlib.metadata
import importlib.resources
import io
import lzma
import sys
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from fairway.errors import FairwayError

SHIPPED = frozenset(
    {
        *("__init__", "errors", "spec", "runtime", "kernels", "model", "optim", "data"),
        *("train", "quant", "score", "main", "prepare"),
    }
)
"""Modules and packages that a submission needs to train and score."""

WORKSHOP = frozenset({"recipes", "fetch", "bundle", "verify", "records", "studies", "probes", "cli"})
"""Those that make, judge and explain submissions; none of them is shipped."""

# Extreme preset, one block, a checksum: the bytes depend on the files and on liblzma alone.
_XZ_PRESET = 9 | lzma.PRESET_EXTREME
_MODE = 0o644


def shipped_sources(package: Path | None = None) -> dict[str, bytes]:
    """Path inside the archive (``fairway/...``) to source of every shipped module, sorted by path.

    ``package`` is the folder of the installed fairway unless another is given.
    """
    root = _installed_package() if package is None else package
    files = [path for path in root.rglob("*.py") if _top(path.relative_to(root)) in SHIPPED]
    names = {f"{root.name}/{path.relative_to(root).as_posix()}": path for path in files}
    return {name: names[name].read_bytes() for name in sorted(names)}


def pack_code(sources: Mapping[str, bytes]) -> bytes:
    """An xz-compressed tar in which order, time, owner and mode say nothing about the machine that made it."""
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(sources):
            entry = tarfile.TarInfo(name)
            entry.size = len(sources[name])
            entry.mode = _MODE
            entry.mtime = 0
            tar.addfile(entry, io.BytesIO(sources[name]))
    return lzma.compress(tar_bytes.getvalue(), preset=_XZ_PRESET)


def code_archive() -> bytes:
    """The archive of the installed package: its length is ``bytes_code``, its SHA-256 names the code of a run."""
    return pack_code(shipped_sources())


def requirements(sources: Mapping[str, bytes]) -> str:
    """requirements.txt: each distribution that the sources import, pinned to the version installed here.

    A local version (``2.11.0+cpu``) is pinned by its public part, which is the one that indexes know.
    """
    providers = importlib.metadata.packages_distributions()
    pins = set()
    for module in sorted(_imported_modules(sources)):
        if module not in providers:
            raise FairwayError(f"requirements: shipped code imports {module}, which no installed distribution provides")
        # A module may be installed by several distributions (namespace packages): all of them are needed.
        for name in providers[module]:
            version = importlib.metadata.version(name).partition("+")[0]
            pins.add(f"{name.lower().replace('_', '-')}=={version}\n")
    return "".join(sorted(pins))


def _imported_modules(sources: Mapping[str, bytes]) -> set[str]:
    """Top-level names that are imported and belong neither to the standard library nor to the sources."""
    own = {name.partition("/")[0] for name in sources}
    found: set[str] = set()
    for name, source in sources.items():
        for node in ast.walk(ast.parse(source, filename=name)):
            found.update(module.partition(".")[0] for module in _modules_of(node))
    return found - own - sys.stdlib_module_names


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
