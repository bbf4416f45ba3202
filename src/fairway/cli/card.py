"""``fairway card``: what is in a folder of shards, and what of validation occurs in training."""

from pathlib import Path
from typing import Annotated

import typer

from fairway.cli.console import echo
from fairway.errors import DataError
from fairway.fetch.card import card_json, card_markdown, data_card
from fairway.runtime.files import write_text_atomic


def command(
    folder: Annotated[Path, typer.Argument(help="A dataset of ours, or a folder of published shards.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where card.md and card.json are written.")],
    tokenizer: Annotated[Path | None, typer.Option(help="Its tokenizer; the folder's own if absent.")] = None,
) -> None:
    """Write a data card: shards with digest, documents, tokens and bytes, and the overlap of the two splits.

    Exit status: 0, or 1 if a validation document occurs in training.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    train, val = (folder / split if (folder / split).is_dir() else folder for split in ("train", "val"))
    own = folder / "tokenizer.model"
    card = data_card(train, val, tokenizer or (own if own.is_file() else None), echo)
    write_text_atomic(output / "card.json", card_json(card))
    text = card_markdown(card, folder.absolute().name)
    write_text_atomic(output / "card.md", text)
    typer.echo("\n".join(text.splitlines()[:8]))
    raise typer.Exit(1 if card.overlap.documents else 0)
