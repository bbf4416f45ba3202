"""``fairway bundle``: the one file that ships, the same program for people, and what shows that they are the program."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fairway.bundle.build import build
from fairway.recipes.load import Resolved, load_recipe, read_resolved
from fairway.runtime.tensors import write_bytes_atomic, write_text_atomic


def command(
    recipe: Annotated[str, typer.Argument(help="A recipe's name, its .toml file, or a resolved recipe.json.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that takes the two files.")],
) -> None:
    """Write train_gpt.py (self-extracting) and train_gpt_source.py (readable), one program for one recipe."""
    made = build(resolved_recipe(recipe))
    write_bytes_atomic(output / "train_gpt.py", made.packed)
    write_text_atomic(output / "train_gpt_source.py", made.readable)
    sys.stdout.write(f"{output / 'train_gpt.py'}: {len(made.packed):,} bytes\n")


def resolved_recipe(recipe: str) -> Resolved:
    """The recipe that a command line names."""
    return read_resolved(Path(recipe)) if recipe.endswith(".json") else load_recipe(recipe)
