"""What a track allows beside what the run took; the verdict is the judge's, this is the table people look at first."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.errors import FairwayError
from fairway.records.facts import RunFacts, SeedFacts

_COUNTED: Mapping[str, Callable[[SeedFacts], float]] = {
    # The training clock runs through the loop and the replay, so the two are one number.
    "loop": lambda seed: seed.train_s,
    "replay": lambda seed: 0.0,
    "calibrate": lambda seed: seed.calibrate_s,
    "score": lambda seed: seed.final.seconds,
    "load": lambda seed: seed.load_s,
    "compile": lambda seed: seed.final.compile_s,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One limit and the seed that came closest to it."""

    what: str
    reading: str
    limit: float
    value: float
    seed: int | None
    unit: str
    source: str
    least: bool = False
    """The value must be at least the limit; otherwise at most."""

    @property
    def holds(self) -> bool:
        """True if the value is on the right side of the limit."""
        return self.value >= self.limit if self.least else self.value <= self.limit


def compliance(run: RunFacts, track: Mapping[str, Any]) -> list[Limit]:
    """Size, seconds and seeds of a run against a track (``schemas/track.schema.json``); the worst seed of each."""
    try:
        return [*_sizes(run, track["size"]), *_seconds(run, track), _seeds(run, track["seeds"])]
    except KeyError as error:
        raise FairwayError(f"track {track.get('name', '?')}: {error} is missing") from error


def _sizes(run: RunFacts, size: Mapping[str, Any]) -> Iterable[Limit]:
    worst = max(run.seeds, key=lambda seed: seed.artifact_bytes)
    for how, profile, code_bytes in (
        ("literal", "strict", run.code_bytes),
        ("repacked", "precedent", run.repacked_bytes),
    ):
        if code_bytes is not None:
            yield Limit(
                what=f"code + artifact: {how}",
                reading=profile,
                limit=float(size["cap_bytes"]),
                value=float(code_bytes + worst.artifact_bytes),
                seed=worst.seed,
                unit="bytes",
                source=size["source"],
            )


def _seconds(run: RunFacts, track: Mapping[str, Any]) -> Iterable[Limit]:
    for part, title in (("train", "training"), ("eval", "evaluation")):
        for limit in track[part]["limits"]:
            taken = {seed.seed: sum(_COUNTED[counted](seed) for counted in limit["counts"]) for seed in run.seeds}
            worst = max(taken, key=lambda seed: taken[seed])
            yield Limit(
                what=f"{title}: {' + '.join(limit['counts'])}",
                reading=limit["profile"] if limit["above"] == "FAIL" else f"{limit['profile']} (a person looks)",
                limit=float(limit["limit_s"]),
                value=taken[worst],
                seed=worst,
                unit="s",
                source=limit["source"],
            )


def _seeds(run: RunFacts, seeds: Mapping[str, Any]) -> Limit:
    return Limit(
        what="seeds",
        reading="both",
        limit=float(seeds["least"]),
        value=float(len(run.seeds)),
        seed=None,
        unit="",
        source=seeds["source"],
        least=True,
    )
