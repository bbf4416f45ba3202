"""What the pull requests claim of trained weights, and what fairway's studies make of each claim.

``claims.toml`` holds one table a claim. Its verdict follows from numbers of the studies by ranges that stand beside it:
``explained by the null`` where the null model alone gives the claimed number (``explained``), or where what was
measured is no larger than the null's (``within_null``); else ``reproduced`` where the measured number lies in
``reproduced``; else ``not reproduced``. A claim without such ranges, without its number, or with fewer samples than are
``enough`` is ``not testable here``, and ``because`` says why.

Claims about runs of seeds bring their ``scores``, from which means, spreads and tests are counted again.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from fairway.errors import DataError
from fairway.verify.statistics import mean, sample_std, student_below

CLAIMS = Path(__file__).with_name("claims.toml")
RECOUNT = "recount"
"""Stands for the name of a study where a number comes from the claim's own scores."""

REPRODUCED, BY_NULL, REFUTED, UNTESTABLE = VERDICTS = (
    "reproduced",
    "explained by the null",
    "not reproduced",
    "not testable here",
)

_LISTS, _FLOATS = ("reproduced", "explained", "scores"), ("at_least", "against")

Numbers = Mapping[str, Mapping[str, float | None]]
"""By study, then by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement of a pull request."""

    pr: int
    says: str
    number: str
    """The claimed number, as people read it."""
    because: str
    """What makes the comparison fair, or why there is none."""
    study: str = ""
    measured: str = ""
    """Name of the number that stands against the claim."""
    null: str = ""
    """Name of the null model's number."""
    reproduced: tuple[float, float] | None = None
    explained: tuple[float, float] | None = None
    within_null: bool = False
    enough: str = ""
    """Name of a number that must be ``at_least`` so much: with two documents nothing is said of short documents."""
    at_least: float = 0.0
    scores: tuple[float, ...] = ()
    """Bits per byte of the claim's runs."""
    against: float | None = None
    """Bits per byte of the one score that they are compared with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A claim with the numbers that it is held against; None where there is none."""

    claim: Claim
    measured: float | None
    null: float | None
    verdict: str
    why: str


def read_claims(path: Path = CLAIMS) -> tuple[Claim, ...]:
    """Every claim of a file in order; ``DataError`` names the first that is not one."""
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))["claim"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
        raise DataError(f"{path}: cannot be read as a list of claims: {error}") from error
    return tuple(_claim(path, number, entry) for number, entry in enumerate(entries, start=1))


def _claim(path: Path, number: int, entry: Mapping[str, Any]) -> Claim:
    where = f"{path}: claim {number}"
    unknown = sorted(entry.keys() - {field.name for field in fields(Claim)})
    if unknown:
        raise DataError(f"{where}: has no key {unknown[0]!r}")
    missing = [name for name in ("pr", "says", "number", "because") if not entry.get(name)]
    if missing:
        raise DataError(f"{where}: needs {missing[0]!r}")
    try:
        facts = {name: _fact(name, value) for name, value in entry.items()}
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: {', '.join(_LISTS)} are lists of numbers, and {', '.join(_FLOATS)} a number"
        ) from error
    claim = Claim(**facts)
    for name in ("reproduced", "explained"):
        range_ = getattr(claim, name)
        if range_ is not None and (len(range_) != 2 or not range_[0] <= range_[1]):
            raise DataError(f"{where}: {name} must be a lowest and a highest number, got {range_}")
    if (claim.reproduced is not None or claim.within_null) and not claim.measured:
        raise DataError(f"{where}: reproduced and within_null need the name of the measured number")
    if (claim.explained is not None or claim.within_null) and not claim.null:
        raise DataError(f"{where}: explained and within_null need the name of the null's number")
    if bool(claim.study) != bool(claim.measured or claim.null):
        raise DataError(f"{where}: study and the names of its numbers go together")
    return claim


def _fact(name: str, value: Any) -> Any:
    if name in _LISTS:
        return tuple(map(float, value))
    return float(value) if name in _FLOATS else value


def judge(claim: Claim, numbers: Numbers) -> Judged:
    """What the numbers make of a claim."""
    known = recount(claim) if claim.study == RECOUNT else numbers.get(claim.study, {})
    measured, null = known.get(claim.measured), known.get(claim.null)
    verdict, why = _verdict(claim, known), claim.because
    if verdict == UNTESTABLE and claim.study:
        lacking = [name for name in (claim.enough, claim.measured, claim.null) if name and known.get(name) is None]
        if lacking:
            why = f"{claim.study} gave no {lacking[0]} here. {why}"
        elif claim.enough:
            why = f"{claim.enough} is {known.get(claim.enough)}, {claim.at_least:g} or more would do. {why}"
    return Judged(claim=claim, measured=measured, null=null, verdict=verdict, why=why)


def _verdict(claim: Claim, known: Mapping[str, float | None]) -> str:
    measured, null = known.get(claim.measured), known.get(claim.null)
    if claim.enough:
        count = known.get(claim.enough)
        if count is None or count < claim.at_least:
            return UNTESTABLE
    if claim.explained is not None and null is not None and _within(null, claim.explained):
        return BY_NULL
    if claim.within_null and measured is not None and null is not None and abs(measured) <= abs(null):
        return BY_NULL
    if claim.reproduced is not None and measured is not None:
        return REPRODUCED if _within(measured, claim.reproduced) else REFUTED
    return UNTESTABLE


def _within(value: float, range_: tuple[float, float]) -> bool:
    return range_[0] <= value <= range_[1]


def recount(claim: Claim) -> dict[str, float]:
    """Mean, spread and one-sided test of a claim's scores, again; the gain in nats per byte."""
    found = {"mean": mean(claim.scores)}
    spread = sample_std(claim.scores)
    if spread is not None:
        found["std"] = spread
    if claim.against is not None:
        gain = claim.against - found["mean"]
        found |= {"gain_bpb": gain, "gain_nats_per_byte": gain * math.log(2)}
        if spread:
            found["t"] = gain / (spread / math.sqrt(len(claim.scores)))
            found["p"] = student_below(-found["t"], float(len(claim.scores) - 1))
    return found
