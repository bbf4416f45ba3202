"""The two files: what they hold, that they are the same each time, and who can read them."""

import ast
import importlib.metadata
import inspect
import linecache
import re
import sys
from pathlib import Path

import pytest

from fairway.bundle.build import build_readable
from fairway.bundle.collect import collect
from fairway.bundle.emit import literal
from fairway.bundle.shrink import SOURCE_NAME
from fairway.bundle.sizes import SIZES_FILE
from fairway.recipes.load import load_recipe, write_resolved
from fairway.recipes.locate import recipe_names
from fairway.verify.twin import likeness
from fairway.verify.unpack import unpack

ROOT = Path(__file__).resolve().parents[2]
# A program takes seconds to make; the mechanisms of the other recipes are among those of these.
RECIPES = ("baseline", "checkpoint-lab", "pocket", "tiny")


def packed(folder: Path) -> str:
    """The text that a self-extracting file runs."""
    program: dict[str, object] = {"__name__": "looked at"}
    exec(compile((folder / "train_gpt.py").read_bytes(), "train_gpt.py", "exec"), program)
    return "".join(linecache.getlines(SOURCE_NAME))


def imports(text: str) -> set[str]:
    tree = ast.parse(text)
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("name", RECIPES)
def test_every_form_compiles_for_python_3_10_and_this_python(bundled, name):
    folder = bundled(name)
    for text in (
        (folder / "train_gpt.py").read_text(encoding="ascii"),
        (folder / "train_gpt_source.py").read_text(encoding="utf-8"),
        packed(folder),
    ):
        ast.parse(text, feature_version=(3, 10))
        compile(text, name, "exec")
        for node in ast.walk(ast.parse(text)):  # before 3.12 no string inside an f-string may have its quotes
            if isinstance(node, ast.JoinedStr) and sys.version_info >= (3, 12):
                assert_old_quotes(ast.get_source_segment(text, node))


def assert_old_quotes(segment: str | None) -> None:
    assert segment is not None
    quote = re.match(r"[rRfF]*(\"\"\"|'''|\"|')", segment)
    if quote:
        assert quote[1] not in segment[quote.end() : -len(quote[1])].replace("\\" + quote[1], "")


@pytest.mark.parametrize("name", RECIPES)
def test_no_form_imports_the_package_its_workshop_or_shape_annotations(bundled, name):
    folder = bundled(name)
    allowed = {"torch", "numpy", "safetensors", "sentencepiece", "brotli", "zstandard", "constriction"}
    for text in ((folder / "train_gpt_source.py").read_text(encoding="utf-8"), packed(folder)):
        assert imports(text) - sys.stdlib_module_names <= allowed
    assert imports((folder / "train_gpt.py").read_text(encoding="ascii")) <= {
        "base64",
        "linecache",
        "lzma",
        "brotli",
        "bz2",
    }


def test_equal_recipes_give_equal_bytes_whatever_process_folder_and_hash_seed(bundled, fairway, tiny, tmp_path):
    write_resolved(tiny, tmp_path / "recipe.json")
    result = fairway("bundle", "recipe.json", "-o", "again", cwd=tmp_path, PYTHONHASHSEED="7")
    assert result.returncode == 0, result.stderr
    for name in ("train_gpt.py", "train_gpt_source.py"):
        assert (tmp_path / "again" / name).read_bytes() == (bundled("tiny") / name).read_bytes()


def test_the_readable_form_has_a_banner_for_each_module_and_keeps_docstrings_and_reasons(bundled):
    text = (bundled("pocket") / "train_gpt_source.py").read_text(encoding="utf-8")
    banners = re.findall(r"^# ---- (fairway\.\S+) -+$", text, re.M)
    modules = [section.module for section in collect("fairway.launch").sections]
    assert len(banners) > 50 and banners == [module for module in modules if module in banners]
    assert '"""Cross-entropy of softcapped logits' not in text  # titles of modules are comments
    assert "# Cross-entropy of softcapped logits, forward and gradient in one pass over cache-sized blocks." in text
    assert "# z lies in -cap..cap, so e^(z - max) neither overflows nor do all terms vanish." in text
    assert '"""Nats of each target under ``softmax(softcap(raw_logits))``, float32."""' in text


def test_the_readable_form_holds_the_recipe_as_a_literal(bundled):
    resolved = load_recipe("pocket")
    text = (bundled("pocket") / "train_gpt_source.py").read_text(encoding="utf-8")
    classes = {node.name: node for node in ast.parse(text).body if isinstance(node, ast.ClassDef)}
    kept = 0
    for part in (resolved.recipe.optim.muon, resolved.recipe.quant.mlp, resolved.recipe.score.method):
        fields = {
            ast.unparse(each.target) for each in classes[type(part).__name__].body if isinstance(each, ast.AnnAssign)
        }
        for line in literal(part, None).splitlines()[1:-1]:
            if line.strip().partition("=")[0] in fields:
                assert line.strip() in text
                kept += 1
    assert kept > 15
    assert resolved.sha256 in text


def test_a_literal_evaluates_to_the_recipe():
    import fairway.spec.data
    import fairway.spec.mechanisms
    import fairway.spec.model
    import fairway.spec.optim
    import fairway.spec.quant
    import fairway.spec.recipe
    import fairway.spec.score
    import fairway.spec.train

    classes: dict[str, object] = {}
    for module in ("data", "mechanisms", "model", "optim", "quant", "recipe", "score", "train"):
        classes |= vars(getattr(fairway.spec, module))
    for name in recipe_names():
        recipe = load_recipe(name).recipe
        assert eval(literal(recipe, None), classes) == recipe


def test_inspect_finds_the_source_of_functions_of_the_packed_form(bundled, tmp_path):
    """Triton reads its kernels this way."""
    program: dict[str, object] = {"__name__": "looked at"}
    exec(compile((bundled("tiny") / "train_gpt.py").read_bytes(), str(tmp_path / "train_gpt.py"), "exec"), program)
    functions = [value for value in program.values() if inspect.isfunction(value) and value.__module__ == "looked at"]
    assert len(functions) > 50
    whole = packed(bundled("tiny"))
    for function in functions:
        source = inspect.getsource(function)
        assert source in whole and f"def {function.__name__}(" in source


def test_pocket_and_the_table_of_sizes_agree(bundled):
    """``fairway bundle --sizes`` writes the table."""
    folder = bundled("pocket")
    sizes = [
        (folder / "train_gpt_source.py").stat().st_size,
        len(packed(folder).encode()),
        (folder / "train_gpt.py").stat().st_size,
    ]
    row = f"| `pocket` | {' | '.join(f'{size:,}' for size in sizes)} |"
    assert row in (ROOT / SIZES_FILE).read_text(encoding="utf-8").splitlines()


def test_the_judge_unpacks_what_the_bundler_packs(bundled):
    code = (bundled("tiny") / "train_gpt.py").read_bytes()
    assert unpack(code).text == packed(bundled("tiny"))


def test_the_judge_sees_that_the_packed_program_names_its_readable_form(bundled):
    source = (bundled("tiny") / "train_gpt_source.py").read_text(encoding="utf-8")
    assert likeness(source, packed(bundled("tiny"))) == "named"


def test_the_minifier_is_pinned_for_the_bytes_depend_on_it():
    assert f"python-minifier=={importlib.metadata.version('python-minifier')}" in (ROOT / "pyproject.toml").read_text(
        encoding="utf-8"
    )


def test_a_readable_form_ends_with_its_call_and_names_no_place_of_the_machine(tiny):
    text = build_readable(tiny)
    assert text.endswith("    sys.exit(launch(PROGRAM, sys.argv[1:]))\n")
    assert str(ROOT) not in text and str(Path.home()) not in text
