"""``fairway inspect``."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fairway.errors import ArtifactError
from fairway.quant.describe import describe


def command(artifact: Annotated[Path, typer.Argument(help="An artifact that `fairway compress` wrote.")]) -> None:
    """Show what an artifact's bytes are spent on, tensor by tensor."""
    try:
        data = artifact.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{artifact}: cannot be read: {error.strerror or error}") from error
    table = Table(title=f"{artifact}: {len(data):,} bytes")
    for name in ("tensor", "role", "codec"):
        table.add_column(name)
    for name in ("bits", "values", "bytes", "share", "entropy bound", "efficiency"):
        table.add_column(name, justify="right")
    for row in describe(data):
        table.add_row(
            row.name,
            row.role,
            row.codec,
            str(row.bits),
            f"{row.count:,}",
            f"{row.size_bytes:,}",
            f"{row.share:.1%}",
            f"{row.entropy_bytes:,.0f}",
            f"{row.efficiency:.4f}",
        )
    # A pipe has no width; a table cut to 80 columns would lose its names.
    Console(width=None if sys.stdout.isatty() else 140).print(table)
