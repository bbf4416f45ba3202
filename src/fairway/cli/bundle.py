"""``fairway bundle``: the one file that ships, and the same program for people."""

import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fairway.bundle.build import build, prove
from fairway.bundle.compare import compare
from fairway.bundle.sizes import SIZES_FILE, size_table
from fairway.errors import FairwayError
from fairway.recipes.load import Resolved, load_recipe, read_resolved
from fairway.recipes.locate import recipe_names
from fairway.runtime.files import write_bytes_atomic, write_text_atomic


def command(
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's name, its .toml file, or a resolved recipe.json.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder that takes the two files.")] = None,
    compare_on: Annotated[
        Path | None,
        typer.Option("--compare", help="Run package and bundle on this dataset and compare what comes out."),
    ] = None,
    prove_in: Annotated[
        Path | None,
        typer.Option("--prove", help="Derive this folder's train_gpt.py from its train_gpt_source.py again."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="With --compare: the seed; the recipe's first if absent.")] = None,
    sizes: Annotated[bool, typer.Option("--sizes", help=f"Write {SIZES_FILE}: bytes for every recipe.")] = False,
) -> None:
    """Write train_gpt.py (self-extracting) and train_gpt_source.py (readable), one program for one recipe."""
    aims = sum(aim is not None for aim in (output, compare_on, prove_in))
    if sizes == (recipe is not None) or aims != (recipe is not None):
        raise FairwayError("bundle takes a recipe with -o FOLDER, --compare DATA or --prove FOLDER, or --sizes alone")
    if recipe is None:
        write_text_atomic(SIZES_FILE, size_table(recipe_names()))
        return
    resolved = resolved_recipe(recipe)
    if output is not None:
        made = build(resolved)
        write_bytes_atomic(output / "train_gpt.py", made.packed)
        write_text_atomic(output / "train_gpt_source.py", made.readable)
        sys.stdout.write(f"{output / 'train_gpt.py'}: {len(made.packed):,} bytes\n")
    elif prove_in is not None:
        readable = (prove_in / "train_gpt_source.py").read_text(encoding="utf-8")
        prove(resolved, readable, (prove_in / "train_gpt.py").read_bytes())
        sys.stdout.write(f"{prove_in / 'train_gpt.py'}: derived from train_gpt_source.py, byte for byte\n")
    elif compare_on is not None:
        _compare(resolved, compare_on, resolved.recipe.seeds[0] if seed is None else seed)


def _compare(resolved: Resolved, data: Path, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        package, bundle = compare(resolved, data, Path(folder), seed)
    for key, value in asdict(package).items():
        other = getattr(bundle, key)
        sys.stdout.write(f"{key}: {value}" + ("\n" if value == other else f" by the package, {other} by the bundle\n"))
    if package != bundle:
        raise FairwayError(f"package and bundle of {resolved.recipe.name} differ for seed {seed}")


def resolved_recipe(recipe: str) -> Resolved:
    """The recipe that a command line names."""
    return read_resolved(Path(recipe)) if recipe.endswith(".json") else load_recipe(recipe)
