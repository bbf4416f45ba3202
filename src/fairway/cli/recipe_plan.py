"""``fairway recipe plan``: what a cap buys, by width, depth and kind of rounding."""

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from string import ascii_lowercase
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from fairway.bundle.build import build
from fairway.bundle.sizes import SIZES_FILE
from fairway.errors import RecipeError
from fairway.recipes.load import Resolved, load_recipe
from fairway.recipes.locate import recipe_names
from fairway.recipes.plan import REAL_BYTES, SCALAR, Row, plan_rows
from fairway.recipes.tax import Calibration
from fairway.spec.quant import TRELLIS_STATES, QuantSpec, TrellisGrid
from fairway.verify.targets import track_called

_GRIDS = ("attention", "mlp", "embedding")
_TRELLIS_PROGRAM_BYTES = 2_469
"""What the decoder of a trellis adds to a program: pocket-trellis, 28,864 bytes, over pocket, 26,395."""


def command(
    name: Annotated[str, typer.Argument(help="A recipe's name, or the path of its .toml file.")],
    layers: Annotated[str, typer.Option(help="Depths, such as 10,11,12 [default: the recipe's].")] = "",
    width: Annotated[str, typer.Option(help="Widths, such as 448,512 [default: the recipe's].")] = "",
    states: Annotated[str, typer.Option(help="States of trellises beside scalar rounding, none if empty.")] = "8,64",
    cap: Annotated[
        int | None, typer.Option(min=1, help="Bytes of program and artifact [default: the track's].")
    ] = None,
    program: Annotated[
        int | None,
        typer.Option(min=0, help=f"Bytes of the program [default: as {SIZES_FILE} has it, else it is built]."),
    ] = None,
    headroom: Annotated[
        int | None,
        typer.Option(min=0, help="Bytes to leave free [default: the cap less where the track has a size reviewed]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with the grids.")] = False,
) -> None:
    """Forecast bits, bytes and quantization tax for scalar and trellis rounding under the track's cap."""
    resolved = load_recipe(name)
    recipe = resolved.recipe
    kinds = [SCALAR, *_numbers("states", states)]
    wrong = [each for each in kinds[1:] if each not in TRELLIS_STATES]
    if wrong:
        raise RecipeError(f"--states must be of {', '.join(map(str, TRELLIS_STATES))}, got {wrong[0]}")
    size = track_called(recipe.track, Path.cwd()).size
    whole = size.cap_bytes if cap is None else cap
    spare = size.cap_bytes - size.review_from_bytes if headroom is None else headroom
    code = _program_bytes(resolved) if program is None else program
    # a program's own rounding is in it; that of the other kind is not
    has_trellis = _has_trellis(recipe.quant)
    budgets = {kind: whole - spare - code - _TRELLIS_PROGRAM_BYTES * ((kind != SCALAR) - has_trellis) for kind in kinds}
    if min(budgets.values()) <= 0:
        raise RecipeError(
            f"a program of {code:,} bytes and {spare:,} spare must be less than the cap of {whole:,} bytes"
        )
    depths, widths = _numbers("layers", layers) or [recipe.model.layers], _numbers("width", width)
    rows, known = plan_rows(recipe, budgets, depths, widths or [recipe.model.width])
    if as_json:
        typer.echo(_json(rows, known, whole, spare, code))
        return
    _print(rows, known, f"{name}: {whole:,} bytes less program ({code:,}) and headroom ({spare:,})")


def _numbers(option: str, text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")] if text else []
    except ValueError:
        raise RecipeError(f"--{option} must be whole numbers with commas between, got {text!r}") from None
    if any(number < 1 for number in found):
        raise RecipeError(f"--{option} must be at least 1, got {text!r}")
    return found


def _has_trellis(quant: QuantSpec) -> bool:
    return any(isinstance(grid, TrellisGrid) for grid in (quant.attention, quant.mlp, quant.embedding))


def _program_bytes(resolved: Resolved) -> int:
    """By the table of the documentation, where a checkout has it; else the program is built, which takes a while."""
    name = resolved.recipe.name
    # a file of one's own may have the name of another recipe
    is_listed = name in recipe_names() and load_recipe(name).sha256 == resolved.sha256
    for folder in (Path.cwd(), Path(__file__).resolve().parents[3]) if is_listed else ():
        path = folder / SIZES_FILE
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        line = re.search(rf"^\| `{re.escape(name)}` \|.*\| ([0-9,]+) \|$", text, re.MULTILINE)
        if line is not None:
            return int(line[1].replace(",", ""))
    return len(build(resolved).packed)


def _print(rows: list[Row], known: Calibration, title: str) -> None:
    named = ("model", "weights", "rounding", "own bytes", "x steps", "bits", "bytes", "tax")
    table = Table(title=title, box=None, padding=(0, 1, 0, 0))
    for name in (*named, ""):
        table.add_column(name, no_wrap=True, justify="left" if name in ("", "rounding") else "right")
    # remarks stand below, by letter: they are long, and terminals are not wide
    letters = dict(zip(dict.fromkeys(text for row in rows for text in row.extrapolated), ascii_lowercase, strict=False))
    for row in rows:
        table.add_row(
            f"{row.layers} x {row.width}",
            f"{row.parameters / 1e6:.2f} M",
            "scalar" if row.states == SCALAR else f"trellis {row.states}",
            f"{row.own_bytes:,}",
            f"{row.factor:.3f}",
            f"{row.bits:.3f}",
            f"{row.artifact_bytes:,}",
            f"{row.tax_bpb:.4f}",
            " ".join(letters[text] for text in row.extrapolated),
            style="dim" if row.extrapolated else None,
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for text, letter in letters.items():
        console.print(f"{letter}: {text}", highlight=False, style="dim")
    low, high = REAL_BYTES
    console.print(
        "model: layers x width. own bytes: artifact at the recipe's steps. x steps: the factor of all steps; with it"
        f" bits of a rounded weight, artifact, tax in bits per byte. Real artifacts took {low:.1%} to {high:.1%} of"
        " what is forecast.\n"
        f"tax: by {known.source}; within {known.off:.0%} where checked. A line with a letter is extrapolated: nobody"
        " ran it. What sizes gain in the float score is not in it.",
        highlight=False,
    )


def _json(rows: list[Row], known: Calibration, cap: int, headroom: int, program: int) -> str:
    return json.dumps(
        {
            "cap_bytes": cap,
            "headroom_bytes": headroom,
            "program_bytes": program,
            "real_over_forecast_bytes": REAL_BYTES,
            "calibration": asdict(known),
            "rows": [
                {**asdict(row), "quant": {part: asdict(getattr(row.quant, part)) for part in _GRIDS}} for row in rows
            ],
        },
        indent=2,
    )
