"""A study's result as files that are the same for the same numbers."""

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from fairway.records.style import save_figure, styled
from fairway.runtime.files import write_bytes_atomic, write_text_atomic
from fairway.studies.result import Cell, Result, Table

FORMAT = "fairway-study/1"
INDEX = "index.md"
_TITLE_INCHES = 0.42
_DIGITS = 6
_SHOWN_DIGITS = 4


def write_result(
    result: Result, folder: Path, *, seconds: float, checkpoints: Sequence[str], cpu_seconds: float | None = None
) -> list[Path]:
    """Write STUDY.csv and STUDY_TABLE.csv, STUDY.md, STUDY.png, STUDY.svg and STUDY.json; returns what was written.

    Only ``seconds`` and ``cpu_seconds``, of this process alone, differ in the JSON of two runs on the same weights.
    """
    written = []
    for i, (key, table) in enumerate(result.tables.items()):
        written.append(folder / (f"{result.study}.csv" if i == 0 else f"{result.study}_{key}.csv"))
        write_text_atomic(written[-1], as_csv(table))
    page, png, svg, facts = (folder / f"{result.study}.{ending}" for ending in ("md", "png", "svg", "json"))
    write_text_atomic(page, as_page(result))
    figure = drawn(result)
    save_figure(figure, png)
    write_bytes_atomic(svg, _as_svg(figure, result.study))
    whole = {
        "format": FORMAT,
        "study": result.study,
        "title": result.title,
        "checkpoints": list(checkpoints),
        "numbers": {name: _json_number(value) for name, value in result.numbers.items()},
        "paragraph": result.paragraph,
        "null": result.null,
        "seconds": round(seconds, 3),
        "cpu_seconds": None if cpu_seconds is None else round(cpu_seconds, 3),
    }
    write_text_atomic(facts, json.dumps(whole, indent=2, allow_nan=False) + "\n")
    return [*written, page, png, svg, facts]


def as_csv(table: Table) -> str:
    """A table with a header line; six digits, and nothing where a number is missing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([_cell(cell, _DIGITS) for cell in row] for row in table.rows)
    return text.getvalue()


def as_markdown(table: Table) -> str:
    """A table as GitHub shows it, numbers to the right."""
    numeric = [all(not isinstance(row[i], str) for row in table.rows) for i in range(len(table.columns))]
    lines = [
        _line(table.columns),
        _line(["--:" if right else "---" for right in numeric]),
        *(_line([_cell(cell, _SHOWN_DIGITS).replace("|", r"\|") for cell in row]) for row in table.rows),
    ]
    return "\n".join(lines) + "\n"


def as_page(result: Result) -> str:
    """A study's own page: what was found, against what, the figure and the tables."""
    pieces = [
        f"# {result.title}\n",
        f"{result.paragraph}\n",
        f"Null model: {result.null}\n",
        f"![{result.title}]({result.study}.png)\n",
    ]
    for key, table in result.tables.items():
        pieces += [f"## {key}\n", as_markdown(table)]
    return "\n".join(pieces)


def write_index(folder: Path, told: Sequence[tuple[str, str]]) -> Path:
    """``index.md``: each study with its paragraph, or with why it has none."""
    lines = ["# Studies\n"]
    for name, words in told:
        there = (folder / f"{name}.md").is_file()
        lines.append(f"- {f'[{name}]({name}.md)' if there else name}: {words}")
    path = folder / INDEX
    write_text_atomic(path, "\n".join(lines) + "\n")
    return path


def drawn(result: Result) -> Figure:
    """The figure of a result, its title above what the study drew."""
    with styled():
        width, height = result.inches
        engine = ConstrainedLayoutEngine(rect=(0.0, 0.0, 1.0, 1 - _TITLE_INCHES / height), w_pad=0.08, h_pad=0.08)
        figure = Figure(figsize=result.inches, layout=engine)
        FigureCanvasAgg(figure)
        figure.text(
            0.15 / width, 1 - 0.12 / height, result.title, fontsize=12.5, fontweight="bold", va="top", in_layout=False
        )
        result.draw(figure)
    return figure


def _as_svg(figure: Figure, salt: str) -> bytes:
    svg = io.BytesIO()
    # The names of clip paths are hashed with a salt, which is drawn at random unless it is given.
    with styled(), matplotlib.rc_context({"svg.hashsalt": salt}):
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    return svg.getvalue()


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(cell: Cell, digits: int) -> str:
    if isinstance(cell, float):
        return "" if math.isnan(cell) else f"{cell:.{digits}g}"
    return str(cell)


def _json_number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
