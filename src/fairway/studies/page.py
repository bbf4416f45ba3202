"""One page of all studies, beside what the pull requests claim.

The page is a function of a folder of the studies' facts (JSON), main tables (CSV) and figures, which lies beside it
under its own name: ``docs/studies.md`` is made of ``docs/studies/``.
"""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from fairway.errors import DataError
from fairway.runtime.files import write_bytes_atomic, write_text_atomic
from fairway.studies.catalogue import NAMES
from fairway.studies.claims import RECOUNT, VERDICTS, Claim, Judged, judge, read_claims
from fairway.studies.result import Cell, Table
from fairway.studies.write import FORMAT, as_markdown

MOST_ROWS = 10
"""Rows of a main table that the page shows."""
_COLOURS = 32
_OPENING = """# Studies of trained weights

What trained weights show, each number beside that of a null model. `fairway study all CHECKPOINT... -o FOLDER --data
DATASET` makes the tables and figures, `fairway study page FOLDER -o docs/studies.md` this page of them; the numbers lie
under `docs/studies/`. The checkpoints are {checkpoints} of one small recipe: what depends on a model's size is not said
of larger ones.
"""
_COMPARISON = """## The pull requests' numbers

Each claim of the five pull requests that the studies answer is told in our words. *Explained by the null*: the null
model alone gives the claimed number, or what was measured here is no larger than what it gives. *Reproduced*: what was
measured here lies in the range that stands with the claim in `src/fairway/studies/claims.toml`. *Not testable here*:
nothing that these checkpoints can show. Some ranges were written when the numbers here were known: they say what counts
as the same finding, and are no predictions.
"""


def write_page(source: Path, output: Path) -> list[Path]:
    """Copy what the page is made of beside it, and write it; the paths written, the page first.

    ``DataError`` if the folder has no study.
    """
    folder = output.with_suffix("")
    written = []
    if source.resolve() != folder.resolve():
        folder.mkdir(parents=True, exist_ok=True)
        for facts in read_facts(source):
            name = facts["study"]
            for ending in ("json", "csv"):
                written.append(folder / f"{name}.{ending}")
                write_bytes_atomic(written[-1], (source / written[-1].name).read_bytes())
            written.append(folder / f"{name}.png")
            write_bytes_atomic(written[-1], fewer_colours((source / f"{name}.png").read_bytes()))
    write_text_atomic(output, page(folder, read_claims()))
    return [output, *written]


def fewer_colours(png: bytes) -> bytes:
    """A figure with a palette, a quarter of the bytes; equal bytes give equal bytes."""
    reduced = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(reduced, "png", optimize=True)
    return reduced.getvalue()


def read_facts(folder: Path) -> list[dict[str, Any]]:
    """The facts of every study of a folder, in the catalogue's order."""
    found = []
    for name in NAMES:
        path = folder / f"{name}.json"
        if not path.is_file():
            continue
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: is not JSON: {error}") from error
        if not isinstance(facts, dict) or facts.get("format") != FORMAT or facts.get("study") != name:
            raise DataError(f"{path}: must be the facts of study {name} as `fairway study` writes them ({FORMAT})")
        found.append(facts)
    if not found:
        raise DataError(f"{folder}: holds no study; `fairway study all CHECKPOINT... -o {folder}` writes them")
    return found


def page(folder: Path, claims: Sequence[Claim]) -> str:
    """The page's text; figures and tables are linked as lying in a folder of this one's name."""
    all_facts = read_facts(folder)
    numbers = {facts["study"]: facts["numbers"] for facts in all_facts}
    judged = [judge(claim, numbers) for claim in claims]
    checkpoints = list(dict.fromkeys(name for facts in all_facts for name in facts["checkpoints"]))
    pieces = [_OPENING.format(checkpoints=", ".join(checkpoints)), _contents(all_facts)]
    pieces += [_section(facts, folder) for facts in all_facts]
    pieces += [_COMPARISON, _counts(judged), _comparison(judged)]
    return "\n".join(pieces)


def _contents(all_facts: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for facts in all_facts:
        times = (_seconds(facts["seconds"]), _seconds(facts.get("cpu_seconds")))
        rows.append((f"[{facts['study']}](#{facts['study']})", facts["title"], *times))
    told = as_markdown(Table(columns=("study", "what it shows", "seconds", "of one core"), rows=tuple(rows)))
    clock, cores = (_seconds(sum(facts.get(key) or 0.0 for facts in all_facts)) for key in ("seconds", "cpu_seconds"))
    left_out = [name for name in NAMES if name not in {facts["study"] for facts in all_facts}]
    absent = f" Not among them: {', '.join(left_out)}." if left_out else ""
    return (
        f"{told}\nAll of them one after the other: {clock} seconds on a machine that did other things as well, {cores}"
        f" seconds of one core.{absent}\n"
    )


def _seconds(seconds: float | None) -> Cell:
    return "" if seconds is None else round(seconds)


def _section(facts: Mapping[str, Any], folder: Path) -> str:
    name = facts["study"]
    table = read_table(folder / f"{name}.csv")
    shown = Table(columns=table.columns, rows=table.rows[:MOST_ROWS])
    more = len(table.rows) - len(shown.rows)
    link = f"[{name}.csv]({folder.name}/{name}.csv)"
    return "\n".join(
        [
            f"## {name}\n",
            f"{facts['title']}. {facts['paragraph']}\n",
            f"Null model: {facts['null']}\n",
            as_markdown(shown),
            f"{f'The first {len(shown.rows)} of {len(table.rows)} rows' if more else 'All rows'} of {link}.\n",
            f"![{facts['title']}]({folder.name}/{name}.png)\n",
        ]
    )


def read_table(path: Path) -> Table:
    """A table as ``write`` writes it; cells that are numbers come back as numbers, empty ones as NaN."""
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))))
        return Table(columns=tuple(lines[0]), rows=tuple(tuple(map(_cell, line)) for line in lines[1:]))
    except (OSError, IndexError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as a table: {error}") from error


def _cell(text: str) -> Cell:
    if not text:
        return math.nan
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _counts(judged: Sequence[Judged]) -> str:
    counts = [(verdict, sum(each.verdict == verdict for each in judged)) for verdict in VERDICTS]
    return f"Of {len(judged)} claims {', '.join(f'{count} {verdict}' for verdict, count in counts)}.\n"


def _comparison(judged: Sequence[Judged]) -> str:
    rows = []
    for each in judged:
        claim = each.claim
        source = {"": "", RECOUNT: "its scores counted again"}.get(claim.study, f"[{claim.study}](#{claim.study})")
        rows.append(
            (
                *(f"#{claim.pr}", claim.says, claim.number, source, _number(each.measured), _number(each.null)),
                *(each.verdict, each.why),
            )
        )
    columns = ("PR", "claim", "its number", "study", "measured here", "null", "verdict", "why")
    return as_markdown(Table(columns=columns, rows=tuple(rows)))


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.4g}"
