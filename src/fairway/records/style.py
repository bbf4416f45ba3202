"""How a figure looks, and that the same facts give the same bytes."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import style as matplotlib_style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.ticker import FuncFormatter

from fairway.runtime.files import write_bytes_atomic

INK, MUTED, GRID, PAPER = "#1f2933", "#6b7785", "#e3e7ec", "#ffffff"
_SEED_COLOURS = ("#2f6fb0", "#d1632a", "#2a9d74", "#8e5ea2", "#b8901f", "#4a5763", "#c2477f", "#3aa6b9")
ROLE_COLOURS = {
    "embedding": "#8e5ea2",
    "query": "#1f4e79",
    "key": "#2f6fb0",
    "value": "#6ba3d6",
    "attn_out": "#a9cbea",
    "mlp_up": "#d1632a",
    "mlp_down": "#f0a878",
    "control": "#8a94a0",
    "correction": "#3aa6b9",
    "steps": "#b8901f",
    "container": "#c5ccd4",
    "code": "#2a9d74",
}
ROLE_TITLES = {
    "embedding": "embedding",
    "query": "query",
    "key": "key",
    "value": "value",
    "attn_out": "attention out",
    "mlp_up": "MLP up",
    "mlp_down": "MLP down",
    "control": "control tensors",
    "correction": "corrections",
    "steps": "row steps",
    "container": "container",
    "code": "code",
}
_DOTS_PER_INCH = 150
_STYLE: dict[str, Any] = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.solid_capstyle": "round",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    """Inches of a figure and of its margins; the title stands in the top one."""

    width: float = 8.0
    height: float = 4.5
    left: float = 0.75
    right: float = 0.25
    top: float = 0.85
    bottom: float = 0.55


@contextmanager
def styled() -> Iterator[None]:
    """Within it matplotlib's own defaults and ours hold, whatever the user's configuration says."""
    with matplotlib_style.context(["default", _STYLE]):
        yield


def seed_colour(index: int) -> str:
    """Colour of the seed at that place of the recipe's list; the same in every figure."""
    return _SEED_COLOURS[index % len(_SEED_COLOURS)]


def titled_figure(title: str, subtitle: str, sheet: Sheet) -> Figure:
    """Make an empty figure with what it shows in bold, and what to see in it below."""
    figure = Figure(figsize=(sheet.width, sheet.height))
    FigureCanvasAgg(figure)
    left = 0.2 / sheet.width
    figure.text(left, 1 - 0.18 / sheet.height, title, fontsize=12.5, fontweight="bold", va="top")
    figure.text(left, 1 - 0.45 / sheet.height, subtitle, fontsize=9, color=MUTED, va="top")
    return figure


def panels(figure: Figure, sheet: Sheet, rows: int, columns: int, **layout: Any) -> GridSpec:
    """Cells for axes between the margins of a sheet."""
    return figure.add_gridspec(
        rows,
        columns,
        left=sheet.left / sheet.width,
        right=1 - sheet.right / sheet.width,
        bottom=sheet.bottom / sheet.height,
        top=1 - sheet.top / sheet.height,
        **layout,
    )


def thousands(axis: Any) -> None:
    """Ticks as 12,000."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def no_frame(axes: Axes) -> None:
    """Only the data: no axis line, no tick, no grid."""
    axes.grid(False)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG without a date or a program's name in it."""
    png = io.BytesIO()
    with styled():
        figure.savefig(png, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
    write_bytes_atomic(path, png.getvalue())
