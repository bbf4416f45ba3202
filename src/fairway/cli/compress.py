"""``fairway compress``."""

from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.runs import Events, Output, RecipeFile, Seed, open_run
from fairway.main import compress_stage


def command(
    recipe: RecipeFile,
    seed: Seed,
    quantized: Annotated[Path, typer.Option(help="Integers that `fairway rotate-gptq` wrote.")],
    output: Output,
    events: Events,
) -> None:
    """Pack the integers into an artifact: the bytes that the size rule counts."""
    compress_stage(open_run(recipe, seed), quantized=quantized, artifact=output, events=events)
