"""What a script's captured run was: passes over the validation stream, and the one whose number is the score.

Losses that left torch as numbers are taken in the order in which they did. What is contained in a later number (a
running sum, told for progress) counts there. A pass ends where hardly anything new is scored and a line with a score
was printed, or nothing new and the script is back where the pass began. The score is the last pass that covers, but
for a twentieth, as much as any.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairway.probes.align import Ints, counts, positions
from fairway.probes.capture import ARRAY, DECISION, GRADIENT, NUMBER

_AS_MUCH = 0.95
_MOST_LONE = 256
_SEEN = 0.9
"""Share of an event's targets that were scored before, from which it is another pass if a score was printed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What became of some losses at one moment."""

    moment: int
    kind: int
    is_chosen: bool
    ids: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One run, as ``capture`` wrote it; per captured loss: shape ``(M,)``."""

    tokens_N: Ints
    """The validation stream."""
    targets_M: Ints
    positions_M: Ints
    """In the validation stream; -1 where it cannot be told."""
    nats_M: npt.NDArray[np.float64]
    log_sums_M: npt.NDArray[np.float64]
    """Log-sum-exp of what was taken for log-probabilities; NaN where the function itself normalises."""
    marks_M: npt.NDArray[np.float64]
    """A projection of the log-probabilities of each target's distribution."""
    moments_M: Ints
    """When the loss was computed."""
    kinds_M: Ints
    calls: int
    events: Sequence[Event]
    said: Sequence[tuple[int, str]]
    """Printed lines that name a score."""
    told: Mapping[str, Any]

    @property
    def length(self) -> int:
        """Of the validation stream, in tokens."""
        return len(self.tokens_N)


@dataclass(slots=True)
class Pass:
    """Numbers that together are one evaluation."""

    events: list[Event] = field(default_factory=list)
    ids: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """Losses in it, as often as they are in it."""
    counts_N: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """How often each position is in it."""
    lines: Sequence[str] = ()
    """Lines with a score that were printed after it and before the next."""

    @property
    def covered(self) -> int:
        """How many targets are in it."""
        return int((self.counts_N > 0).sum())

    @property
    def is_chosen(self) -> bool:
        """Whether a comparison of losses had a say in what is in it."""
        return any(event.is_chosen for event in self.events)

    @property
    def has_arrays(self) -> bool:
        """Whether losses left torch many at once, so that it is not known which of them were summed."""
        return any(event.kind == ARRAY for event in self.events)


def read_capture(path: Path, tokens_N: Ints, vocab_size: int) -> Captured:
    """One run's file, aligned with the stream that the run was given."""
    with np.load(path, allow_pickle=False) as file:
        held = {name: file[name] for name in file.files}
    told = json.loads(held["told"].tobytes())
    calls, targets_M = held["calls"], held["targets"]
    bounds = [*calls[:, 3].tolist(), len(targets_M)]
    parts = [positions(targets_M[a:b], tokens_N, vocab_size) for a, b in zip(bounds, bounds[1:], strict=False)]
    sizes = np.diff(bounds)
    starts = [0, *held["event_ends"].tolist()]
    events = [
        Event(moment=moment, kind=kind, is_chosen=bool(chosen), ids=held["event_ids"][starts[i] : starts[i + 1]])
        for i, (moment, kind, chosen) in enumerate(held["events"].tolist())
    ]
    return Captured(
        tokens_N=tokens_N,
        targets_M=targets_M,
        positions_M=np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64),
        nats_M=held["nats"],
        log_sums_M=held["log_sums"],
        marks_M=held["marks"],
        moments_M=np.repeat(calls[:, 0], sizes),
        kinds_M=np.repeat(calls[:, 1], sizes),
        calls=len(calls),
        events=events,
        said=[(moment, line) for moment, line in told["said"]],
        told=told,
    )


def passes_of(run: Captured) -> list[Pass]:
    """All passes of a run, in order."""
    found: list[Pass] = []
    seen_N = np.zeros(run.length, dtype=bool)
    first_N = np.zeros(run.length, dtype=bool)
    for event in _lasting([each for each in run.events if each.kind in (NUMBER, ARRAY) and len(each.ids)], run):
        places = run.positions_M[event.ids]
        places = places[places >= 0]
        if not len(places):
            continue
        current = found[-1] if found else None
        if current is None or _begins(seen_N, first_N, places, _said(run, current.events[-1].moment, event.moment)):
            found.append(Pass())
            seen_N[:], first_N[:] = False, False
            first_N[places] = True
        found[-1].events.append(event)
        seen_N[places] = True
    for number, each in enumerate(found):
        each.ids = np.concatenate([event.ids for event in each.events])
        _recognise(run, each)
        each.counts_N = counts(run.positions_M[each.ids], run.length)
        end = found[number + 1].events[0].moment if number + 1 < len(found) else None
        each.lines = [
            line for moment, line in run.said if moment > each.events[-1].moment and (not end or moment < end)
        ]
    return found


def final_pass(passes: Sequence[Pass]) -> Pass | None:
    """The pass whose number is the score."""
    most = max((each.covered for each in passes), default=0)
    return next((each for each in reversed(passes) if each.covered >= _AS_MUCH * most), None)


def gradients(run: Captured) -> list[Event]:
    """When gradients were taken of which losses."""
    return [event for event in run.events if event.kind == GRADIENT]


def decisions(run: Captured) -> list[Event]:
    """When a comparison of losses decided where the script went on."""
    return [event for event in run.events if event.kind == DECISION]


def _begins(seen_N: Any, first_N: Any, places: Ints, said: bool) -> bool:
    """Whether an event is of another pass than those before it."""
    seen = float(seen_N[places].mean())
    return (said and seen >= _SEEN) or (seen == 1.0 and bool(first_N[places].any()))


def _said(run: Captured, after: int, before: int) -> bool:
    return any(after < moment < before for moment, _ in run.said)


def _lasting(events: Sequence[Event], run: Captured) -> list[Event]:
    """Events without those that a later one contains, and without choices that were only looked at."""
    latest = np.full(len(run.positions_M), -1, dtype=np.int64)
    for number, event in enumerate(events):
        latest[event.ids] = number
    kept: list[Event] = []
    for number, event in enumerate(events):
        later = events[int(latest[event.ids[0]])]
        contained = later is not event and bool(np.isin(event.ids, later.ids).all())
        alike = contained and len(later.ids) == len(event.ids)
        if contained and not (alike and later.is_chosen and not event.is_chosen):
            continue
        looked = event.is_chosen and any(
            not each.is_chosen and np.isin(event.ids, each.ids).all() for each in events[:number]
        )
        if not looked:
            kept.append(event)
    return kept


def _recognise(run: Captured, each: Pass) -> None:
    """Tell a target without neighbours by what is left: of the places that are missing, one holds its token."""
    lone = each.ids[run.positions_M[each.ids] < 0]
    if not len(lone) or len(lone) > _MOST_LONE:
        return
    missing = np.flatnonzero(counts(run.positions_M[each.ids], run.length)[1:] == 0) + 1
    for number in lone:
        (fits,) = np.nonzero(run.tokens_N[missing] == run.targets_M[number])
        if len(fits) == 1:
            run.positions_M[number] = missing[fits[0]]
