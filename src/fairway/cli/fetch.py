"""``fairway fetch``."""

from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.console import echo
from fairway.cli.runs import Output
from fairway.errors import FairwayError
from fairway.fetch.dataset import fetch_dataset, verify_dataset
from fairway.recipes.load import read_resolved
from fairway.spec.data import DataSpec, LocalCorpus


def command(
    output: Output,
    recipe: Annotated[
        Path | None, typer.Argument(help="A resolved recipe, whose corpus is fetched.", metavar="[RECIPE.json]")
    ] = None,
    docs: Annotated[Path | None, typer.Option(help="Your own documents: JSON lines with a field text.")] = None,
    vocab: Annotated[int, typer.Option(help="With --docs: pieces of the tokenizer.")] = 1024,
    val_docs: Annotated[int, typer.Option(help="With --docs: documents held out for validation.")] = 100,
    shuffle_seed: Annotated[int, typer.Option(help="With --docs: seed of the shuffle.")] = 0,
    caseops: Annotated[bool, typer.Option(help="With --docs: capitals as operators, and byte sidecars.")] = False,
    endpoint: Annotated[str | None, typer.Option(help="Another server that speaks the hub's protocol.")] = None,
) -> None:
    """Get a corpus and a tokenizer and write official shards with a manifest."""
    if (recipe is None) == (docs is None):
        raise FairwayError("fetch takes either a resolved recipe or --docs FILE.jsonl")
    if recipe is not None:
        spec = read_resolved(recipe).recipe.data
    else:
        try:
            corpus = LocalCorpus(path=str(docs))
            spec = DataSpec(
                corpus=corpus,
                vocab_size=vocab,
                val_docs=val_docs,
                shuffle_seed=shuffle_seed,
                transform="caseops" if caseops else "none",
            )
        except ValueError as error:
            raise FairwayError(f"fetch: {error}") from error
    fetch_dataset(spec, output, endpoint=endpoint, progress=echo)
    manifest = verify_dataset(output)  # what lies on the disk, not what was meant to
    echo(f"fetch: {len(manifest['shards'])} shards, {manifest['val']['bytes']:,} validation bytes in {output}")
