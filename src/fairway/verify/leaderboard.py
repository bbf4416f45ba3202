"""The chain of accepted records: one line a record, oldest first, append-only.

A line names its folder, its track, its scores seed by seed, the digest of its SHA256SUMS, and the line it beat
(``predecessor``, null for the first of a track). Our own records stand in ``records/leaderboard.jsonl``. The public
leaderboard of a track stands in the same form beside the track's rules (``workflow/tracks/<name>.leaderboard.jsonl``):
what its README and the logs of its folders said, with pull requests instead of digests, in the order of these.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from fairway.errors import DataError
from fairway.verify import schemas, strict_json

_LIMIT_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedScore:
    """What one seed reached: bits per byte, and nats per token."""

    val_bpb: float
    val_loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """One accepted record."""

    record: str
    """Name of its folder."""
    track: str
    rules_version: int
    date: str
    val_bpb: float
    """As the leaderboard states it; as a rule the mean of the seeds."""
    val_loss: float | None = None
    seed_results: Mapping[str, tuple[SeedScore, ...]] = field(default_factory=dict)
    """Seed to its runs, one as a rule; empty where no log says."""
    predecessor: str | None
    sums_sha256: str | None = None
    pr: int | None = None
    """Pull request; None for a record of our own, or one that came without."""
    title: str | None = None
    merged: str | None = None
    """When the folder came to the main branch of a public leaderboard; None where it did not."""
    ranked: bool = True
    line: int = 0

    @property
    def scores(self) -> tuple[SeedScore, ...]:
        """Every run of every seed."""
        return tuple(score for runs in self.seed_results.values() for score in runs)


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All accepted records, oldest first."""

    file: str
    rows: tuple[Accepted, ...]

    def of(self, track: str) -> tuple[Accepted, ...]:
        """The records of one track, oldest first."""
        return tuple(row for row in self.rows if row.track == track)

    def find(self, track: str, record: str) -> Accepted | None:
        """The line of one record, if it is there."""
        return next((row for row in self.of(track) if row.record == record), None)

    def best_before(self, track: str, record: str) -> Accepted | None:
        """The best record of a track that stood when ``record`` came: what a new one must beat."""
        rows = self.of(track)
        names = [row.record for row in rows]
        earlier = rows[: names.index(record)] if record in names else rows
        return best_of(earlier)


def best_of(rows: Iterable[Accepted]) -> Accepted | None:
    """The lowest score among those that stand on the leaderboard; the earlier of equals."""
    return min((row for row in rows if row.ranked), key=lambda row: row.val_bpb, default=None)


@cache
def public_leaderboard(track_file: Path) -> Leaderboard | None:
    """The public leaderboard that lies beside the rules of a track; None where there is none."""
    path = track_file.with_name(f"{track_file.stem}.leaderboard.jsonl")
    return read_leaderboard(path) if path.is_file() else None


def whole_leaderboard(track: str, track_file: Path | None, own: Leaderboard | None) -> Leaderboard | None:
    """The public leaderboard of a track, and our own records of it after that; None where there is neither."""
    public = None if track_file is None else public_leaderboard(track_file)
    if public is None or own is None:
        return public or own
    known = {row.record for row in public.rows}
    return Leaderboard(public.file, (*public.rows, *(row for row in own.of(track) if row.record not in known)))


def read_leaderboard(path: Path) -> Leaderboard:
    """The chain that a file holds; ``DataError`` names the line that does not fit."""
    try:
        lines = strict_json.read_text(path, _LIMIT_BYTES).split("\n")
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    if lines.pop() != "":
        raise DataError(f"{path}:{len(lines) + 1}: has no line feed: truncated")
    rows: list[Accepted] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = _accepted(strict_json.parse(line), number)
            _follows(row, rows)
        except ValueError as error:
            raise DataError(f"{path}:{number}: {error}") from error
        rows.append(row)
    return Leaderboard(path.name, tuple(rows))


def append(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line to the chain, in canonical form; ``DataError`` if it does not continue it."""
    chain = read_leaderboard(path) if path.exists() else Leaderboard(path.name, ())
    try:
        _follows(_accepted(dict(row), len(chain.rows) + 1), list(chain.rows))
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
    before = path.read_bytes() if path.exists() else b""
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(before + strict_json.canonical(row) + b"\n")
        os.replace(part, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def row_of(
    submission: Mapping[str, Any], *, record: str, rules_version: int, sums_sha256: str, predecessor: str | None
) -> dict[str, Any]:
    """The line of a judged record, from its submission.json."""
    results = submission["seed_results"]
    row = {
        "record": record,
        "track": submission["track"],
        "rules_version": rules_version,
        "date": submission["date"],
        "val_bpb": submission["val_bpb"],
        "val_loss": submission["val_loss"],
        "seed_results": {
            seed: {"val_bpb": result["val_bpb"], "val_loss": result["val_loss"]} for seed, result in results.items()
        },
        "predecessor": predecessor,
        "sums_sha256": sums_sha256,
    }
    copied: dict[str, Any] = json.loads(strict_json.canonical(row))
    return copied


def _accepted(value: Any, line: int) -> Accepted:
    wrong = schemas.violations("leaderboard", value, most=1)
    if wrong:
        raise ValueError(wrong[0])
    results = {
        seed: tuple(_score(run) for run in (result if isinstance(result, list) else [result]))
        for seed, result in value.get("seed_results", {}).items()
    }
    return Accepted(**{**value, "seed_results": results, "line": line})


def _score(value: Mapping[str, Any]) -> SeedScore:
    return SeedScore(val_bpb=float(value["val_bpb"]), val_loss=float(value["val_loss"]))


def _follows(row: Accepted, rows: list[Accepted]) -> None:
    """Raise ``ValueError`` unless ``row`` continues the chain of its track."""
    earlier = [each.record for each in rows if each.track == row.track]
    if row.record in earlier:
        raise ValueError(f"{row.record} is on the leaderboard already")
    if row.predecessor is None and earlier:
        raise ValueError(f"{row.record} names no predecessor, but track {row.track} has records")
    if row.predecessor is not None and row.predecessor not in earlier:
        raise ValueError(f"{row.record} names predecessor {row.predecessor}, which is no earlier record of its track")
