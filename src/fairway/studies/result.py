"""What a study hands back: tables, a figure, a paragraph, numbers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

Cell = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns; the units stand in the names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        """Refuse a row that is longer or shorter than the header."""
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row must have {len(self.columns)} cells ({', '.join(self.columns)}), got {row!r}")

    def column(self, name: str) -> tuple[Cell, ...]:
        """The cells under one name, from the first row to the last."""
        place = self.columns.index(name)
        return tuple(row[place] for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that a study found; ``write`` makes files of it."""

    study: str
    """Its name in the catalogue."""
    title: str
    tables: Mapping[str, Table]
    """The first is the main one; the files of the others have their keys in the name."""
    draw: Callable[[Figure], None]
    """Fills an empty figure that lays itself out (``constrained``): add axes with ``figure.subplots``."""
    paragraph: str
    """What was found, in words made from the numbers."""
    null: str
    """What the null model is, in one sentence; its numbers stand in the tables beside the measured ones."""
    numbers: Mapping[str, float]
    """What pages and tests quote; NaN where a number cannot be had."""
    inches: tuple[float, float] = (8.0, 4.5)
    """Width and height of the figure."""

    def __post_init__(self) -> None:
        """Refuse a result without a main table."""
        if not self.tables:
            raise ValueError(f"study {self.study} must hand back at least one table")
