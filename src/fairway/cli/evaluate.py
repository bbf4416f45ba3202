"""``fairway evaluate``."""

from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.runs import Events, Output, RecipeFile, Seed, open_run
from fairway.errors import FairwayError
from fairway.main import evaluate_float_stage, evaluate_stage


def command(
    recipe: RecipeFile,
    val: Annotated[Path, typer.Option(help="Folder of validation shards.")],
    tokenizer: Annotated[Path, typer.Option(help="SentencePiece model that bytes are counted by.")],
    seed: Seed,
    output: Output,
    events: Events,
    artifact: Annotated[Path | None, typer.Option(help="Score this artifact, adaptation included.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="Score these unquantized weights (a diagnostic).")] = None,
    ledger: Annotated[Path | None, typer.Option(help="Where the referee's ledger is written.")] = None,
) -> None:
    """Score an artifact (or, as a diagnostic, unquantized weights) on the validation shards."""
    run = open_run(recipe, seed)
    if artifact is not None and ledger is not None and checkpoint is None:
        evaluate_stage(run, val, tokenizer, artifact=artifact, scores=output, ledger=ledger, events=events)
    elif checkpoint is not None and artifact is None and ledger is None:
        evaluate_float_stage(run, val, tokenizer, checkpoint=checkpoint, scores=output, events=events)
    else:
        raise FairwayError("evaluate takes either --artifact with --ledger, or --checkpoint alone")
