"""``fairway figures``: what a recipe's runs look like."""

import tomllib
from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.console import echo
from fairway.records.facts import read_run
from fairway.records.figures import write_figures
from fairway.verify.tracks import find_track


def command(
    recipe: Annotated[Path, typer.Argument(help="The resolved recipe that ran.", metavar="RECIPE.json")],
    results: Annotated[Path, typer.Option(help="Folder of its runs.")],
    data: Annotated[Path, typer.Option(help="The dataset that they ran on.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that takes the figures.")],
) -> None:
    """Draw the figures of a recipe's runs as PNG files."""
    run = read_run(recipe, results, data, with_probes=False)
    track = tomllib.loads(find_track(run.recipe.track, [Path.cwd(), Path(__file__)]).read_text(encoding="utf-8"))
    output.mkdir(parents=True, exist_ok=True)
    for path in write_figures(run, output, cap_bytes=track["size"]["cap_bytes"]):
        echo(f"figures: {path}")
