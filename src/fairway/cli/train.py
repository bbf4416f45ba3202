"""``fairway train``."""

from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.runs import Events, Output, RecipeFile, Seed, open_run
from fairway.main import train_stage


def command(
    recipe: RecipeFile,
    data: Annotated[Path, typer.Option(help="Folder of training shards.")],
    seed: Seed,
    output: Output,
    events: Events,
) -> None:
    """Train one seed of a recipe on training shards; write averaged weights."""
    train_stage(open_run(recipe, seed), data, checkpoint=output, events=events)
