"""A resolved recipe and a seed to a Run, and the options that all stages share."""

import atexit
from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.console import echo
from fairway.main import Run
from fairway.quant.forecast import forecast
from fairway.recipes.load import read_resolved
from fairway.records.code import package_code
from fairway.runtime.ranks import close_ranks

RecipeFile = Annotated[Path, typer.Argument(help="A resolved recipe: recipe.json.", metavar="RECIPE.json")]
Seed = Annotated[int, typer.Option(help="Seed of this run.")]
Events = Annotated[Path, typer.Option(help="Where the stage's events are written.")]
Checkpoint = Annotated[Path, typer.Option(help="Weights that `fairway train` wrote.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="What to write.")]


def open_run(recipe: Path, seed: int) -> Run:
    """One seed of the recipe in ``recipe``, carried out by the shipped code as it is installed."""
    resolved = read_resolved(recipe)
    atexit.register(close_ranks)
    code_sha256, code_bytes = package_code()
    return Run(
        recipe=resolved.recipe,
        recipe_sha256=resolved.sha256,
        forecast_bytes=forecast(resolved.recipe).total_bytes,
        seed=seed,
        code_sha256=code_sha256,
        code_bytes=code_bytes,
        echo=echo,
    )
