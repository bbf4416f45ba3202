"""Which Python takes a text, told by any Python; the tree of what the running one does not take."""

import ast
import sys
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.verify.programs.fstrings import CannotScan, lower
from fairway.verify.programs.parse import MOST_DEPTH, VERSIONS, parse

NEW = {
    "x = 1\nprint(f'{d['a']}')\n": 2,
    'y = f"{"".join(a)}"\n': 1,
    "print(f'{a}')\nprint(f'{\"\\n\".join(a)}')\n": 2,
    "f'{f'{f'{1}'}'}'\n": 1,
    'z = f"{a  # why\n}"\n': 1,
    "z = (f\"{a[\n1]}\" 'b')\nw = 1\n": 1,
    "rf'{d['\\d']!r:>{w['n']}} and {d['b']=}'\n": 1,
    'f"""{d["""a"""]}\n"""\n': 1,
}
OLD = (
    "f'{a!r:>{w}} {{}} {b:%H:%M}'\n",
    "f'{d[\"a\"]}' '}' \"{\" f'{x != y}'\n",
    "rb'\\'', f\"\\N{BULLET} {x:{y}}\"\n",
    'f"""{\nd["a"]\n}"""\n',
    "# it's f'{\n'''f'{'''\n",
    "f'{a=}' f'{(lambda x: 1)}' f'{d:=^10}'\n",
)


@pytest.mark.parametrize("text", NEW)
def test_f_strings_of_312_are_seen_at_their_line(text: str) -> None:
    found = parse(text)
    assert found.tree is not None and not found.hidden
    assert found.syntax["3.12"] is None and found.syntax["3.13"] is None
    for version in ("3.10", "3.11"):
        error = found.syntax[version]
        assert error is not None and error[1] == NEW[text]


@pytest.mark.parametrize("text", OLD)
def test_f_strings_of_any_python_are_no_news(text: str) -> None:
    assert set(parse(text).syntax.items()) == {(version, None) for version in VERSIONS}
    assert lower(text, "_h").first_line is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the running Python takes no such f-strings itself")
@pytest.mark.parametrize("text", NEW)
def test_what_is_filled_in_is_what_the_parser_reads(text: str) -> None:
    names = [node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
    found = parse(text).tree
    assert found is not None
    assert sorted(names) == sorted(node.id for node in ast.walk(found) if isinstance(node, ast.Name))


def test_expressions_inside_keep_their_lines_and_what_follows_too() -> None:
    tree = parse("a = f'{\nd['x']\n}'\nb = g(f'{c['y']}')\n").tree
    assert tree is not None
    lines = {node.id: node.lineno for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert lines == {"a": 1, "d": 2, "b": 4, "g": 4, "c": 4}


@pytest.mark.parametrize(
    ("text", "line"),
    [("x = (\n", 1), ("a\nb c\n", 2), ("def f(:\n", 1), ("f'{a['\n", 1), ("x\nreturn\n", 2), ("a = 1\n\0\n", 2)],
)
def test_what_no_python_takes(text: str, line: int) -> None:
    errors = parse(text).syntax
    assert set(errors) == set(VERSIONS)
    assert {error[1] for error in errors.values() if error is not None} == {line}
    assert None not in errors.values()


def test_syntax_that_came_with_a_version() -> None:
    star = parse("try:\n    pass\nexcept* ValueError:\n    pass\n").syntax
    assert star["3.10"] is not None and star["3.11"] is None
    index = parse("a[*b]\n").syntax
    assert index["3.10"] is not None and index["3.11"] is None
    assert parse("a[(*b,)]\na[*b, 1][(1, *c)]\n").syntax["3.10"] == (
        "SyntaxError: a starred index needs Python 3.11",
        2,
    )
    generic = parse("def f[T](x: T) -> T: return x\ntype X[T] = list[T]\nclass C[T]: pass\n")
    assert generic.tree is not None and generic.syntax["3.11"] is not None and generic.syntax["3.12"] is None


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "-" * 100_000 + "1",
        "+".join("1" * 100_000),
        "a" + ".b" * 100_000,
        "if 1:\n pass\n" + "elif 1:\n pass\n" * 50_000,
        "lambda:" * 5_000 + "1",
        "a" + "()" * 50_000,
        "f'{" * 5_000,
        "f'{a:" * 5_000,
        "x = " + "[" * 150 + "f'{a['b']}'" + "]" * 150,
        "a;" * 1_000_000,
        "x" * 3_000_000,
        "+".join("1" * (MOST_DEPTH + 50)),
    ],
    ids=lambda text: text[:12],
)
def test_what_is_out_of_bounds_has_no_tree_and_says_so(text: str) -> None:
    found = parse(text)
    assert found.tree is None or text.startswith("x = [")
    assert bool(found.hidden) is (found.tree is None)


PIECES = st.sampled_from(
    ["f'", "'", '"', '"""', 'f"', "{", "}", "{{", "!r", ":", "=", "a", "[", "]", "\\", "\n", "#", " ", "(", ")"]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join))
def test_the_versions_never_contradict_the_running_python(text: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(text, "x", "exec", dont_inherit=True)
        takes = True
    except (SyntaxError, ValueError):
        takes = False
    found = parse(text)
    running = f"{sys.version_info.major}.{sys.version_info.minor}"
    if running in found.syntax:
        assert (found.syntax[running] is None) == takes
    try:
        assert lower(text, "_h").text.count("\n") == text.count("\n")
    except CannotScan:
        pass
