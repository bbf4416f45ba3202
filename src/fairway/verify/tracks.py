"""The rules of a competition as data: ``workflow/tracks/<name>.toml``, each number with its source."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fairway.errors import DataError
from fairway.verify import schemas, strict_json

Profile = Literal["strict", "precedent", "both"]
"""Of a number: the written rule, what accepted records show, or both at once."""

TRACKS_FOLDER = Path("workflow") / "tracks"
_LIMIT_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimit:
    """Code and model of one seed together."""

    cap_bytes: int
    review_from_bytes: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimit:
    """The sum of some parts of a budget, with the tolerance already in ``limit_s``."""

    profile: Profile
    counts: tuple[str, ...]
    """Of training: loop, replay, calibrate; of evaluation: score, load, compile."""
    limit_s: float
    above: Literal["FAIL", "REVIEW"]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeBudget:
    """The headline number, and the limits that are judged."""

    budget_s: float
    source: str
    limits: tuple[TimeLimit, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedsNeeded:
    """How many seeds make a record."""

    least: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What the budgets are meant for."""

    device: str
    world: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GainTest:
    """By how much, and how surely, the predecessor must be beaten."""

    profile: Profile
    unit: Literal["nats_per_token", "nats_per_byte", "bits_per_byte"]
    margin: float
    p_max: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerSet:
    """A validation set that the track had before."""

    bytes: int
    targets: tuple[int, ...]
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationSet:
    """The fixed validation set of a track."""

    documents: int
    bytes: int
    targets: tuple[int, ...]
    tolerance: float
    """Relative, for bytes and targets."""
    source: str
    usual: tuple[int, ...] = ()
    """The counts of ``targets`` that the published data sets give; the others come from exports of one's own."""
    former: tuple[FormerSet, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One competition."""

    name: str
    title: str
    rules_version: int
    size: SizeLimit
    train: TimeBudget
    eval: TimeBudget
    seeds: SeedsNeeded
    claim: Literal["implied", "named"]
    """Whether a folder claims to beat all before it by lying in this track, or only by naming a predecessor."""
    gain_tests: tuple[GainTest, ...]
    hardware: Hardware | None = None
    validation: ValidationSet | None = None
    file: Path | None = None
    """Where its rules stand; its public leaderboard lies beside them."""


def load_track(path: Path) -> Track:
    """The track that a file holds; ``DataError`` names the file and the key that is wrong."""
    try:
        values = tomllib.loads(strict_json.read_text(path, _LIMIT_BYTES))
    except ValueError as error:
        raise DataError(f"{path}: no track: {error}") from error
    wrong = schemas.violations("track", values, most=1)
    if wrong:
        raise DataError(f"{path}: no track: {wrong[0]}")
    if values["name"] != path.stem:
        raise DataError(f"{path}: name is {values['name']!r}, by the file's name it must be {path.stem!r}")
    validation = values.get("validation")
    return Track(
        name=values["name"],
        title=values["title"],
        rules_version=values["rules_version"],
        size=SizeLimit(**values["size"]),
        train=_budget(values["train"]),
        eval=_budget(values["eval"]),
        seeds=SeedsNeeded(**values["seeds"]),
        claim=values["significance"]["claim"],
        gain_tests=tuple(_gain_test(test) for test in values["significance"]["tests"]),
        file=path,
        hardware=Hardware(**values["hardware"]) if "hardware" in values else None,
        validation=None
        if validation is None
        else ValidationSet(
            **{
                **validation,
                "targets": tuple(validation["targets"]),
                "usual": tuple(validation.get("usual", ())),
                "former": tuple(
                    FormerSet(**{**known, "targets": tuple(known["targets"])}) for known in validation.get("former", ())
                ),
            }
        ),
    )


def find_track(name: str, near: Sequence[Path]) -> Path:
    """The file of a track, in ``workflow/tracks`` at or above one of the places; ``DataError`` if there is none."""
    for place in near:
        resolved = place.resolve()
        for folder in (resolved, *resolved.parents):
            path = folder / TRACKS_FOLDER / f"{name}.toml"
            if path.is_file():
                return path
    places = ", ".join(str(place) for place in near)
    raise DataError(f"track {name!r}: no {TRACKS_FOLDER / f'{name}.toml'} at or above {places}")


def track_of(folder: Path) -> str:
    """The track that a record's place names (``records/track_<name>/<record>``); ``DataError`` if it names none."""
    parent = folder.resolve().parent.name
    if not parent.startswith("track_") or parent == "track_":
        raise DataError(f"{folder}: lies in {parent!r}, not in track_<name>; say --track")
    return parent.removeprefix("track_")


def _budget(values: dict[str, Any]) -> TimeBudget:
    limits = tuple(
        TimeLimit(**{**limit, "counts": tuple(limit["counts"]), "limit_s": float(limit["limit_s"])})
        for limit in values["limits"]
    )
    return TimeBudget(budget_s=float(values["budget_s"]), source=values["source"], limits=limits)


def _gain_test(values: dict[str, Any]) -> GainTest:
    return GainTest(**{**values, "margin": float(values["margin"]), "p_max": float(values["p_max"])})
