"""What the final evaluation scored, span by span; the figures are drawn from it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairway.errors import FairwayError


@dataclass(frozen=True, slots=True, eq=False)
class Ledger:
    """The final evaluation span by span, in the order of scoring.

    Targets ``starts[i]..stops[i]-1`` of the validation stream cost ``nats[i]`` and spell ``bytes[i]`` bytes.
    ``learned`` says after how many scored targets something was learned, and what.
    """

    path: Path
    artifact_sha256: str
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    nats: NDArray[np.float64]
    bytes: NDArray[np.float64]
    learned: tuple[tuple[int, str], ...]


def read_ledger(path: Path) -> Ledger:
    """The scored spans of a ledger in order; whether its chain holds is for the judge to say, not for us."""
    spans: list[list[float]] = []
    learned: list[tuple[int, str]] = []
    artifact_sha256, targets, closed = "", 0, False
    for number, entry in enumerate(_json_lines(path), start=1):
        try:
            match entry["kind"]:
                case "open":
                    artifact_sha256 = str(entry["artifact_sha256"])
                case "score":
                    spans.extend(entry["spans"])
                    targets += sum(int(stop) - int(start) for _, start, stop, _, _ in entry["spans"])
                case "learn":
                    learned.append((targets, str(entry["what"])))
                case "close":
                    closed = True
                case kind:
                    raise FairwayError(f"{path}:{number}: kind must be open, score, learn or close, got {kind!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise FairwayError(f"{path}:{number}: not an entry of a ledger: {error!r}") from error
    if not closed or not spans:
        raise FairwayError(f"{path}: a whole ledger has scores and ends with a 'close' entry, this one does not")
    table = np.asarray(spans, dtype=np.float64)
    return Ledger(
        path=path,
        artifact_sha256=artifact_sha256,
        starts=table[:, 1].astype(np.int64),
        stops=table[:, 2].astype(np.int64),
        nats=table[:, 3],
        bytes=table[:, 4],
        learned=tuple(learned),
    )


def _json_lines(path: Path) -> list[Mapping[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise FairwayError(f"{path}: cannot be read as JSON lines: {error}") from error
