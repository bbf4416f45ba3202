"""A resolved recipe and a seed to a Run, and the options that all stages share."""

import hashlib
from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.console import echo
from fairway.main import Run
from fairway.recipes.load import read_resolved
from fairway.records.code import code_archive

RecipeFile = Annotated[Path, typer.Argument(help="A resolved recipe: recipe.json.", metavar="RECIPE.json")]
Seed = Annotated[int, typer.Option(help="Seed of this run.")]
Events = Annotated[Path, typer.Option(help="Where the stage's events are written.")]
Checkpoint = Annotated[Path, typer.Option(help="Weights that `fairway train` wrote.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="What to write.")]


def open_run(recipe: Path, seed: int) -> Run:
    """One seed of the recipe in ``recipe``, carried out by the shipped code as it is installed."""
    resolved = read_resolved(recipe)
    code = code_archive()
    return Run(
        recipe=resolved.recipe,
        recipe_sha256=resolved.sha256,
        seed=seed,
        code_sha256=hashlib.sha256(code).hexdigest(),
        code_bytes=len(code),
        echo=echo,
    )
