"""The modules that a root needs, in import order, as sections of one program."""

import ast
import builtins
import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources.abc import Traversable

from fairway.bundle.edits import Source

SHAPE_LIBRARY = "jaxtyping"
"""Its annotations say shapes; the bundle keeps the tensor and forgets the shape."""


@dataclass(frozen=True, slots=True)
class Section:
    """One module without its imports."""

    module: str
    title: str
    """First line of its docstring."""
    text: str


@dataclass(frozen=True, slots=True)
class Collected:
    """Sections in import order, and what they import from elsewhere: bound name to import statements."""

    sections: tuple[Section, ...]
    imports: Mapping[str, tuple[str, ...]]

    def with_texts(self, texts: Sequence[str]) -> "Collected":
        """The same program with other texts."""
        pairs = zip(self.sections, texts, strict=True)
        return replace(self, sections=tuple(replace(section, text=text) for section, text in pairs))


def collect(root: str) -> Collected:
    """Read ``root`` and every fairway module it needs, as installed; what a module needs comes before it."""
    texts: dict[str, str] = {}
    _visit(root, texts, ())
    imports: dict[str, set[str]] = {}
    sections = []
    for module, text in texts.items():
        title = (ast.get_docstring(ast.parse(text)) or module).splitlines()[0]
        sections.append(Section(module, title, _without_imports(text, imports)))
    _check_names(sections, imports)
    return Collected(tuple(sections), {name: tuple(sorted(imports[name])) for name in sorted(imports)})


def module_text(module: str) -> str:
    """Source of an installed module."""
    package, *inner = module.split(".")
    place: Traversable = importlib.resources.files(package)
    for name in inner[:-1]:
        place = place / name
    return (place / f"{inner[-1]}.py").read_text(encoding="utf-8")


def _visit(module: str, texts: dict[str, str], above: tuple[str, ...]) -> None:
    assert module not in above, f"modules import each other: {' -> '.join((*above, module))}"
    if module in texts:
        return
    text = module_text(module)
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and _is_internal(node):
            assert node.module is not None
            _visit(node.module, texts, (*above, module))
    texts[module] = text


def _is_internal(node: ast.ImportFrom) -> bool:
    return (node.module or "").split(".")[0] == "fairway"


def _without_imports(text: str, imports: dict[str, set[str]]) -> str:
    """A module without docstring, imports and shapes; its imports from elsewhere are added to ``imports``."""
    source = Source(text)
    gone: list[ast.stmt] = []
    shapes: set[str] = set()
    for place, node in enumerate(source.tree.body):
        if place == 0 and isinstance(node, ast.Expr):
            gone.append(node)
        elif isinstance(node, ast.Import):
            gone.append(node)
            for alias in node.names:
                bound = alias.asname or alias.name.split(".")[0]
                line = f"import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
                imports.setdefault(bound, set()).add(line)
        elif isinstance(node, ast.ImportFrom):
            gone.append(node)
            if node.module == SHAPE_LIBRARY:
                shapes.update(alias.asname or alias.name for alias in node.names)
            elif not _is_internal(node):
                for alias in node.names:
                    line = f"from {node.module} import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")
                    imports.setdefault(alias.asname or alias.name, set()).add(line)
    for node in gone:
        source.put(source.region(node), [])
    for each in ast.walk(source.tree):
        if isinstance(each, ast.Subscript) and isinstance(each.value, ast.Name) and each.value.id in shapes:
            assert isinstance(each.slice, ast.Tuple), ast.unparse(each)
            source.replace(each, source.segment(each.slice.elts[0]))
    return source.edited().strip("\n") + "\n"


def defined_names(body: Sequence[ast.stmt]) -> list[str]:
    """Names that top-level statements define."""
    names: list[str] = []
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [leaf.id for target in node.targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return names


def _check_names(sections: Sequence[Section], imports: Mapping[str, set[str]]) -> None:
    """One name means one thing in the whole program, or the parts could not stand in one file."""
    homes: dict[str, str] = {}
    for section in sections:
        tree = ast.parse(section.text)
        for name in defined_names(tree.body):
            assert name not in homes, f"{name} is defined in {homes[name]} and in {section.module}"
            assert name not in imports, f"{name} is defined in {section.module} and imported elsewhere"
            assert not hasattr(builtins, name), f"{name} of {section.module} hides a builtin"
            homes[name] = section.module
    for name, lines in imports.items():
        froms = {line for line in lines if line.startswith("from") or " as " in line}
        assert len(froms) <= 1 and (not froms or len(lines) == 1), f"{name} is imported as {sorted(lines)}"
