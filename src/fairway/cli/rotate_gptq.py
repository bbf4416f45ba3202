"""``fairway rotate-gptq``."""

from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.runs import Checkpoint, Events, Output, RecipeFile, Seed, open_run
from fairway.main import rotate_gptq_stage


def command(
    recipe: RecipeFile,
    seed: Seed,
    checkpoint: Checkpoint,
    hessians: Annotated[Path, typer.Option(help="Hessians that `fairway calibrate` wrote.")],
    output: Output,
    events: Events,
) -> None:
    """Rotate the weights and round them to integers, each column's error pushed onto the later ones."""
    run = open_run(recipe, seed)
    rotate_gptq_stage(run, checkpoint=checkpoint, hessians=hessians, quantized=output, events=events)
