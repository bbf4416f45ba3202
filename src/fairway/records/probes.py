"""What probes found of each seed's evaluation: read for a record, and shown as one table of its README."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.errors import FairwayError
from fairway.records.layout import PROBE
from fairway.verify import schemas

_AT_LEAST = "uniform-stream"
"""The one probe whose number must be large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One seed's run, and what its probes must speak of."""

    seed: int
    folder: Path
    artifact_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRow:
    """One probe over all seeds, with the numbers of the seed that came closest to its limit."""

    name: str
    measured: float
    limit: float
    unit: str
    seed: int
    samples: int
    passed: int
    asked: int
    """Seeds in which it applies."""


def read_probes(runs: Sequence[Probed], *, recipe_sha256: str, code_sha256: str) -> dict[int, Mapping[str, Any]]:
    """By seed, what ``fairway probe`` wrote beside its run; empty where nothing was probed.

    ``FairwayError`` where some seeds were probed and others not, where a file is none of the probes', or where it
    speaks of another artifact, recipe, program or seed.
    """
    places = {run.seed: run.folder / PROBE for run in runs}
    if not any(path.is_file() for path in places.values()):
        return {}
    for seed, path in places.items():
        if not path.is_file():
            raise FairwayError(f"{path}: no such file, but other seeds were probed; probe seed {seed} too")
    found = {seed: _read(path) for seed, path in places.items()}
    for run in runs:
        due = {
            "seed": run.seed,
            "artifact_sha256": run.artifact_sha256,
            "recipe_sha256": recipe_sha256,
            "code_sha256": code_sha256,
        }
        for key, value in due.items():
            if found[run.seed][key] != value:
                said = str(found[run.seed][key])[:12]
                raise FairwayError(f"{places[run.seed]}: {key} is {said}, must be {str(value)[:12]}; probe it again")
    return found


def _read(path: Path) -> Mapping[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FairwayError(f"{path}: cannot be read as JSON: {error}") from error
    if wrong := schemas.violations("probe", told, most=1):
        raise FairwayError(f"{path}: must be what `fairway probe` writes: {wrong[0]}")
    assert isinstance(told, dict), "the schema asks for an object"
    return told


def probe_rows(probes: Mapping[int, Mapping[str, Any]]) -> list[ProbeRow]:
    """Each probe once, in the order in which they were made; last the bitstreams, where there are any."""
    names = list(dict.fromkeys(each["name"] for told in probes.values() for each in told["probes"]))
    rows = [
        _row(name, {seed: each for seed, told in probes.items() for each in told["probes"] if each["name"] == name})
        for name in names
    ]
    coded = {seed: _as_probe(told["decode"]) for seed, told in probes.items() if told["decode"] is not None}
    return [*rows, _row("decode", coded)] if coded else rows


def _as_probe(decode: Mapping[str, Any]) -> dict[str, Any]:
    """A bitstream against the losses that it was coded with."""
    return {
        "verdict": decode["verdict"],
        "measured": abs(decode["stream_bits"] - decode["ledger_bits"]),
        "limit": decode["limit_bits"] - decode["ledger_bits"],
        "unit": "bits",
        "samples": decode["targets"],
    }


def _row(name: str, found: Mapping[int, Mapping[str, Any]]) -> ProbeRow:
    def margin(seed: int) -> tuple[bool, float]:
        each = found[seed]
        beyond = float(each["measured"] - each["limit"])
        return each["verdict"] == "failed", -beyond if name == _AT_LEAST else beyond

    asked = [seed for seed, each in found.items() if each["verdict"] != "not-applicable"]
    worst = max(asked or found, key=margin)
    return ProbeRow(
        name=name,
        measured=float(found[worst]["measured"]),
        limit=float(found[worst]["limit"]),
        unit=found[worst]["unit"],
        seed=worst,
        samples=sum(each["samples"] for each in found.values()),
        passed=sum(each["verdict"] == "passed" for each in found.values()),
        asked=len(asked),
    )


def probe_cells(row: ProbeRow) -> list[str]:
    """What the table says of a probe: its name, worst number, seed, limit, samples and how many seeds passed."""
    if not row.asked:
        return [f"`{row.name}`", "", "", "", "0", "does not apply"]
    at = "at least" if row.name == _AT_LEAST else "at most"
    verdict = f"{row.passed} of {row.asked} passed"
    return [
        f"`{row.name}`",
        f"{_number(row.measured)} {row.unit}",
        str(row.seed),
        f"{at} {_number(row.limit)} {row.unit}",
        f"{row.samples:,}",
        verdict if row.passed == row.asked else f"**{verdict}**",
    ]


def _number(value: float) -> str:
    return f"{value:.4g}"


def probe_sentences(probes: Mapping[int, Mapping[str, Any]]) -> Iterator[str]:
    """What was probed, and what the numbers are held against."""
    told = list(probes.values())
    documents, targets = (sum(each["stream"][key] for each in told) // len(told) for key in ("documents", "targets"))
    noise = max(each["noise_floor"] for each in told)
    devices = ", ".join(dict.fromkeys(each["device"] for each in told))
    yield (
        f"`fairway probe` ran each seed's evaluation again on {documents:,} validation documents ({targets:,} targets,"
        f" {devices}), each time with something changed that must not matter. Two equal runs differ by at most"
        f" {_number(noise)} nats at any target."
    )
    decoded = [each["decode"] for each in told if each["decode"] is not None]
    if decoded:
        yield (
            "`decode` wrote documents into a bitstream with the evaluator's own distributions and read them back in a"
            f" process that did not hold them: {sum(each['targets'] for each in decoded):,} targets in"
            f" {sum(each['stream_bits'] for each in decoded):,} bits, by their losses"
            f" {sum(each['ledger_bits'] for each in decoded):,.1f}."
        )
