"""``fairway attest``: a record's statement of provenance and its RO-Crate, signed where there is a key."""

from pathlib import Path
from typing import Annotated

import typer

from fairway.errors import FairwayError
from fairway.records.attest import attest, new_key


def command(
    record: Annotated[Path | None, typer.Argument(help="Folder of a record of ours.")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key in PEM that signs the statement.")] = None,
    make_key: Annotated[
        Path | None, typer.Option("--make-key", help="Write a new Ed25519 key pair: NAME and NAME.pub.", metavar="NAME")
    ] = None,
) -> None:
    """Write provenance.json (in-toto, SLSA) and ro-crate-metadata.json into a record; signed too, with a key.

    `fairway check` verifies them without a network; with --public-key it verifies the signature.
    """
    if (record is None) == (make_key is None):
        raise FairwayError("attest takes either the folder of a record or --make-key NAME")
    if make_key is not None:
        public = make_key.with_name(f"{make_key.name}.pub")
        new_key(make_key, public)
        typer.echo(f"{make_key} (keep it to yourself), {public}")
        return
    assert record is not None
    if not (record / "SHA256SUMS").is_file():
        raise FairwayError(f"{record}: is no record of ours: it holds no SHA256SUMS")
    for path in attest(record, key=key, workflow=Path("Snakefile")):
        typer.echo(path.as_posix())
