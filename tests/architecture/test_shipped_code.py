"""The six rules that let the shipped packages be folded into one file."""

import ast
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from fairway.records.code import SHIPPED

ROOT = Path(__file__).resolve().parents[2] / "src"

LEAVES = {
    "brotli": {"fairway.quant.codecs"},
    "constriction": {"fairway.quant.codecs"},
    "zstandard": {"fairway.quant.codecs"},
    "numpy": {"fairway.data.shards", "fairway.prepare", "fairway.quant.codecs", "fairway.quant.trellis_codec"},
    "safetensors": {"fairway.runtime.tensors"},
    "sentencepiece": {"fairway.data.byte_counts", "fairway.prepare"},
    "triton": {"fairway.kernels.operators"},
}
"""Third-party packages that shipped code may import beside torch and jaxtyping, and where."""


def is_shipped(path: Path) -> bool:
    parts = path.relative_to(ROOT / "fairway").with_suffix("").parts
    return parts[0] in SHIPPED


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted((ROOT / "fairway").rglob("*.py")) if is_shipped(path)}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
MODULES = [name for name, path in FILES.items() if path.name != "__init__.py"]
PACKAGES = [name for name in FILES if name not in MODULES]


def defined(tree: ast.Module) -> Iterator[str]:
    """Names that the top level of a module defines itself."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (leaf.id for target in node.targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name))
        elif isinstance(node, ast.AnnAssign | ast.AugAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def internal_imports(tree: ast.Module) -> Iterator[ast.ImportFrom]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fairway":
            yield node


def third_party(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top != "fairway":
                yield top


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_init_holds_a_docstring_and_nothing_else(name):
    assert [type(node) for node in TREES[name].body] == [ast.Expr]
    assert ast.get_docstring(TREES[name])


@pytest.mark.parametrize("name", MODULES)
def test_imports_name_the_module_that_defines_as_it_is_called_there(name):
    tree = TREES[name]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            assert not [alias.name for alias in node.names if alias.name.split(".")[0] == "fairway"]
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
    for node in internal_imports(tree):
        assert node.module in MODULES, f"line {node.lineno} imports from {node.module}, which is no shipped module"
        for alias in node.names:
            assert alias.asname is None, f"line {node.lineno} renames {alias.name}"
            assert alias.name in defined(TREES[node.module]), f"{node.module} does not define {alias.name} itself"


@pytest.mark.parametrize("name", MODULES)
def test_imports_stand_at_the_top_level(name):
    top = {id(node) for node in TREES[name].body}
    inner = [node for node in ast.walk(TREES[name]) if isinstance(node, ast.Import | ast.ImportFrom)]
    if name != "fairway.kernels.operators":  # where guarded imports live
        assert not [node.lineno for node in inner if id(node) not in top]


def test_module_level_names_are_unique_over_all_shipped_modules():
    homes = defaultdict(set)
    for name in MODULES:
        for symbol in defined(TREES[name]):
            homes[symbol].add(name)
    assert {symbol: modules for symbol, modules in homes.items() if len(modules) > 1} == {}


@pytest.mark.parametrize("name", MODULES)
def test_the_top_level_of_a_module_only_defines(name):
    allowed = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    for node in TREES[name].body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        assert isinstance(node, allowed) or is_text or name == "fairway.kernels.operators", f"line {node.lineno} acts"


def test_importing_all_shipped_modules_prints_nothing_writes_nothing_and_changes_no_setting():
    code = f"""
import os, sys, torch, numpy, safetensors.torch, sentencepiece, brotli, zstandard, constriction, jaxtyping
def forbid(event, args):
    writes = event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+")
    cached = writes and "__pycache__" in str(args[0])
    if (writes and not cached) or event in ("os.putenv", "os.remove", "os.mkdir", "socket.connect", "subprocess.Popen"):
        raise SystemExit(f"importing caused {{event}} {{args}}")
state = lambda: (dict(os.environ), torch.get_num_threads(), torch.get_default_dtype(),
    torch.is_grad_enabled(), torch.backends.cuda.matmul.allow_tf32, torch.random.get_rng_state().tolist())
before = state()
sys.addaudithook(forbid)
for name in {MODULES!r}:
    __import__(name)
assert state() == before
assert not torch.cuda.is_initialized()
"""
    # -B: in a tree that nothing was imported from yet, Python would make the folders of its own cache.
    result = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.parametrize("name", MODULES)
def test_only_ranks_reads_the_environment_and_nothing_reads_its_own_file(name):
    names = {node.id for node in ast.walk(TREES[name]) if isinstance(node, ast.Name)}
    attributes = {node.attr for node in ast.walk(TREES[name]) if isinstance(node, ast.Attribute)}
    assert not (names | attributes) & {"__file__", "pkgutil", "resources"}
    if name != "fairway.runtime.ranks":
        assert not (names | attributes) & {"environ", "getenv", "putenv"}


def test_shipped_modules_import_without_cycles():
    graph = {name: {str(node.module) for node in internal_imports(TREES[name])} for name in MODULES}
    order = list(TopologicalSorter(graph).static_order())
    assert set(order) == set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_third_party_imports_are_torch_shapes_and_the_named_leaves(name):
    for package in third_party(TREES[name]):
        assert package in ("torch", "jaxtyping") or name in LEAVES.get(package, ()), f"{name} imports {package}"


def test_every_leaf_is_imported_where_it_is_allowed():
    used = {package: {name for name in MODULES if package in third_party(TREES[name])} for package in LEAVES}
    assert all(used.values()), used
