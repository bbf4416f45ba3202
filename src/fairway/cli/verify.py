"""``fairway verify``: the run of one seed, before there is a record."""

from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.verdicts import show
from fairway.recipes.load import read_resolved
from fairway.runtime.files import write_text_atomic
from fairway.verify.report import as_json, exit_status
from fairway.verify.run import verify_seed
from fairway.verify.tracks import find_track, load_track


def command(
    folder: Annotated[Path, typer.Argument(help="Folder of one seed's run.", metavar="SEED_DIR")],
    recipe: Annotated[Path, typer.Option(help="The resolved recipe that ran.")],
    data: Annotated[Path, typer.Option(help="The dataset that it ran on.")],
    code: Annotated[Path, typer.Option(help="The train_gpt.py that ran.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the verdict is written.")],
) -> None:
    """Judge the run of one seed: ledger, artifact, seconds, bytes. Exit status as `fairway check`."""
    track = load_track(find_track(read_resolved(recipe).recipe.track, [Path.cwd(), Path(__file__)]))
    verdict = verify_seed(folder, track, recipe=recipe, data=data, code=code)
    write_text_atomic(output, as_json(verdict))
    show(verdict)
    # A verdict that fails is still this stage's result: the record shows it and `fairway check` exits with it.
    status = exit_status([verdict])
    raise typer.Exit(status if verdict.crashes else 0)
