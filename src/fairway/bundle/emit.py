"""One file from many sections: head, sections under banners, the recipe as a literal, the call."""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from fairway.bundle.collect import Collected
from fairway.bundle.edits import Source

_BANNER_WIDTH = 120

CALL = """
if __name__ == "__main__":
    with open(__file__, "rb") as CODE_FILE:
        CODE = CODE_FILE.read()
    PROGRAM = Program(
        recipe=RECIPE,
        recipe_sha256={recipe_sha256},
        forecast_bytes={forecast_bytes},
        data={data},
        code_sha256=hashlib.sha256(CODE).hexdigest(),
        code_bytes=len(CODE),
    )
    sys.exit(launch(PROGRAM, sys.argv[1:]))
"""
"""The end of the file; a run is named by the file that runs."""


def literal(value: Any, read: dict[str, set[str]] | None, indent: str = "") -> str:
    """A recipe as calls of the classes that it consists of; ``read`` are the fields that these still have."""
    if is_dataclass(value) and not isinstance(value, type):
        kind = type(value).__name__
        names = [each.name for each in fields(value) if read is None or each.name in read[kind]]
        inner = indent + "    "
        lines = [f"{inner}{name}={literal(getattr(value, name), read, inner)},\n" for name in names]
        return f"{kind}(\n{''.join(lines)}{indent})" if lines else f"{kind}()"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def emit(program: Collected, head: str, tail: str) -> str:
    """The text of the whole file; ``head`` becomes its docstring, ``tail`` its end."""
    texts = {section.module: _tidy(section.text) for section in program.sections}
    body = "".join(
        f"\n\n{_banner(section.module)}# {section.title}\n\n\n{texts[section.module]}"
        for section in program.sections
        if texts[section.module].strip()
    )
    whole = f"{body}\n\n{_banner('the recipe and the call')}\n{tail}"
    imports = _imports_used(program, whole)
    return f'"""{head}"""\n\nfrom __future__ import annotations\n\n{imports}{whole}'


def _banner(text: str) -> str:
    line = f"# ---- {text} "
    return line + "-" * (_BANNER_WIDTH - len(line)) + "\n"


def _tidy(text: str) -> str:
    """At most two blank lines, none at either end, and no hints for tools that do not see this file."""
    text = re.sub(r"  # (noqa|type: ignore)[^\n]*", "", text)
    text = re.sub(r"[ \t]+\n", "\n", text)
    text = re.sub(r"\n{4,}", "\n\n\n", text)
    text = re.sub(r"\n{3,}(?=[ \t])", "\n\n", text)
    return text.strip("\n") + "\n"


def _imports_used(program: Collected, text: str) -> str:
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.arg | ast.AnnAssign) and isinstance(node.annotation, ast.Constant):
            used |= {one.id for one in ast.walk(ast.parse(str(node.annotation.value))) if isinstance(one, ast.Name)}
    lines = sorted({line for name, lines in program.imports.items() if name in used for line in lines})
    plain = [line for line in lines if line.startswith("import")]
    named: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("from"):
            module, _, name = line.removeprefix("from ").partition(" import ")
            named.setdefault(module, []).append(name)
    froms = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(named.items())]
    return "".join(f"{line}\n" for line in [*plain, *froms])


def sources_of(program: Collected) -> Sequence[Source]:
    """Each section's text with its tree."""
    return [Source(section.text) for section in program.sections]
