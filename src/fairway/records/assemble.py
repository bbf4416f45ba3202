"""Puts a record together beside its place and renames it, so that it is there whole or not at all."""

import json
import re
import shutil
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Any

from fairway.errors import FairwayError
from fairway.records.code import requirements
from fairway.records.facts import DATA_MANIFEST, RunFacts, SeedFacts, read_run
from fairway.records.figures import write_figures
from fairway.records.layout import (
    ARTIFACT,
    CHECKSUMS,
    CODE,
    DOCUMENTS,
    ENVIRONMENT,
    EVENTS,
    FIGURES,
    LEDGER,
    MANIFEST,
    PROBE,
    README,
    RECIPE,
    REQUIREMENTS,
    SOURCE,
    STAGES,
    SUBMISSION,
    UNSUMMED,
    log_name,
    record_name,
    seed_folder,
)
from fairway.records.log import seed_log
from fairway.records.outside import gathered, read_outside
from fairway.records.readme import readme
from fairway.records.submission import Byline, submission
from fairway.runtime.files import sha256_file, write_bytes_atomic, write_text_atomic

_DATE = re.compile(r"20\d\d-[01]\d-[0-3]\d")
_SLUG = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_GITHUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,38}")


def assemble(
    recipe_json: Path,
    results: Path,
    data: Path,
    track: Mapping[str, Any],
    out_parent: Path,
    *,
    date: str,
    slug: str,
    byline: Byline,
    numbered: bool = False,
) -> Path:
    """Make ``out_parent/<date>_<slug>`` from a run's files and return it; the verdict is not in it yet.

    A record that is already there is returned if it is the same, byte for byte, and never written over: records are
    append-only. With ``numbered`` another record of the same day and slug makes this one ``<slug>_2`` (and so on);
    without it that is an error. ``FairwayError`` names the file that is missing, damaged or of another run.
    """
    _check_words(date, slug, byline)
    place = out_parent / record_name(date, slug)
    run = read_run(recipe_json, results, data)
    if run.recipe.track != track["name"]:
        raise FairwayError(f"{recipe_json}: is for track {run.recipe.track}, not for {track['name']}")
    part = place.with_name(f".{place.name}.part")
    _remove(part)
    try:
        part.mkdir(parents=True)
        _fill(part, run, recipe_json, data, track, byline, date)
        write_text_atomic(part / CHECKSUMS, checksums(part))
        return _put(part, _free(part, place) if numbered else place)
    except OSError as error:
        raise FairwayError(f"{place}: cannot be written: {error.strerror or error}") from error
    finally:
        _remove(part)


def checksums(folder: Path) -> str:
    """Text of SHA256SUMS: every file of a record but those that cannot be in it, sorted by path."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return "".join(f"{sha256_file(folder / name)}  {name}\n" for name in files if name not in UNSUMMED)


def _fill(
    folder: Path,
    run: RunFacts,
    recipe_json: Path,
    data: Path,
    track: Mapping[str, Any],
    byline: Byline,
    date: str,
) -> None:
    claim = submission(run, byline, track=run.recipe.track, date=date)
    write_text_atomic(folder / README, readme(run, byline, track, date=date))
    write_text_atomic(folder / SUBMISSION, json.dumps(claim, indent=2, ensure_ascii=False) + "\n")
    write_text_atomic(folder / REQUIREMENTS, requirements(_programs(run)))
    for name in (CODE, SOURCE):
        shutil.copyfile(run.folder / name, folder / name)
    shutil.copyfile(recipe_json, folder / RECIPE)
    shutil.copyfile(data / DATA_MANIFEST, folder / MANIFEST)
    if run.manifest["documents"] is not None:
        shutil.copyfile(data / DOCUMENTS, folder / DOCUMENTS)
    for seed in run.seeds:
        _fill_seed(folder, seed, run)
    watched = {seed.seed: seen for seed in run.seeds if (seen := read_outside(seed.folder)) is not None}
    if watched:
        write_text_atomic(folder / ENVIRONMENT, gathered(watched))
    write_figures(run, folder / FIGURES, cap_bytes=track["size"]["cap_bytes"])


def _programs(run: RunFacts) -> dict[str, bytes]:
    """What runs: the stub, and in readable form the program that it unpacks."""
    return {name: (run.folder / name).read_bytes() for name in (CODE, SOURCE)}


def _fill_seed(folder: Path, seed: SeedFacts, run: RunFacts) -> None:
    write_text_atomic(folder / log_name(seed.seed), seed_log(seed, run))
    own = folder / seed_folder(seed.seed)
    own.mkdir()
    for name in (ARTIFACT, LEDGER, *([PROBE] if seed.seed in run.probes else [])):
        shutil.copyfile(seed.folder / name, own / name)
    # Bytes, not events written anew: the record holds what the stages wrote.
    write_bytes_atomic(own / EVENTS, b"".join(seed.logs[stage].path.read_bytes() for stage in STAGES))


def _free(part: Path, place: Path) -> Path:
    """The first of ``place``, ``place_2``, ... where no other record lies."""
    names = (place.with_name(f"{place.name}_{number}") if number > 1 else place for number in count(1))
    return next(name for name in names if not _taken(name) or _same(part, name))


def _taken(place: Path) -> bool:
    # An empty folder may have been made for the verdict that comes later; renaming replaces it.
    return place.exists() and any(place.iterdir())


def _same(part: Path, place: Path) -> bool:
    there = place / CHECKSUMS
    return there.is_file() and there.read_bytes() == (part / CHECKSUMS).read_bytes()


def _put(part: Path, place: Path) -> Path:
    if _taken(place):
        if _same(part, place):
            return place
        raise FairwayError(f"{place}: another record lies there; records are never changed, give a new date or slug")
    part.rename(place)
    return place


def _check_words(date: str, slug: str, byline: Byline) -> None:
    if not _DATE.fullmatch(date):
        raise FairwayError(f"the date of a record is YYYY-MM-DD, got {date!r}")
    if not _SLUG.fullmatch(slug):
        raise FairwayError(f"the slug of a record is lower-case words and digits joined by _, got {slug!r}")
    if not _GITHUB_ID.fullmatch(byline.github_id):
        raise FairwayError(f"github_id must be letters, digits and hyphens, at most 39, got {byline.github_id!r}")
    for field in ("author", "name", "blurb"):
        if not getattr(byline, field).strip():
            raise FairwayError(f"{field} of a record must not be empty")


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
