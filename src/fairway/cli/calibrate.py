"""``fairway calibrate``."""

from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.runs import Checkpoint, Events, Output, RecipeFile, Seed, open_run
from fairway.main import calibrate_stage


def command(
    recipe: RecipeFile,
    data: Annotated[Path, typer.Option(help="Folder of training shards.")],
    seed: Seed,
    checkpoint: Checkpoint,
    output: Output,
    events: Events,
) -> None:
    """Gather the Hessian of every linear's input from training shards."""
    calibrate_stage(open_run(recipe, seed), data, checkpoint=checkpoint, hessians=output, events=events)
