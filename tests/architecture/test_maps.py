import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent for path in (ROOT / "src" / "fairway").rglob("__init__.py"))


def docstring(package: Path) -> str:
    return ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""


def children(package: Path) -> set[str]:
    modules = {path.stem for path in package.glob("*.py") if path.stem != "__init__"}
    packages = {path.parent.name for path in package.glob("*/__init__.py")}
    return modules | packages


def bullets(text: str) -> set[str]:
    """Names in double backticks before the colon of each list item."""
    heads = re.findall(r"^- ((?:``\w+``(?:, )?)+):", text, flags=re.MULTILINE)
    return {name for head in heads for name in re.findall(r"``(\w+)``", head)}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_the_docstring_of_a_package_lists_its_files_and_no_others(package):
    assert bullets(docstring(package)) == children(package)


def modules() -> list[Path]:
    return sorted(path for path in (ROOT / "src" / "fairway").rglob("*.py") if path.name != "__init__.py")


def first_line(module: Path) -> str:
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return text.split("\n")[0].replace("``", "").rstrip(".")


@pytest.mark.parametrize("module", modules(), ids=lambda path: path.relative_to(ROOT / "src").as_posix())
def test_the_tree_says_of_each_file_what_the_file_says(module):
    tree = (ROOT / "docs" / "tree.md").read_text(encoding="utf-8")
    depth = len(module.relative_to(ROOT / "src" / "fairway").parts)
    wanted = f"{'  ' * depth + module.name:<34}{first_line(module)}"
    assert wanted in tree.splitlines()
