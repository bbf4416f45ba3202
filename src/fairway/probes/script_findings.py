"""What a foreign script's runs show: one verdict a question, measured by what two equal runs differ by."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from fairway.probes.align import Ints
from fairway.probes.capture import RAW
from fairway.probes.result import Probe, judged, not_applicable
from fairway.probes.script_data import BOS, Flip
from fairway.probes.script_passes import Captured, Pass, decisions, gradients

NAMES = ("a-a", "coverage", "choice", "future-flip", "self-flip", "sum-to-one", "score-first", "reported")
"""Verdicts, in the order in which they are told."""
NOISE_MOST = 1e-3
"""Nats between equal runs beyond which nothing can be told from a change."""
_NORMALISED = 1e-3
_TIMES = 4.0
_SUMMED = 2e-6
"""What the order of a sum in float32 may make of a mean, as a share."""
_LOSS = re.compile(r"\b\w*loss\b\s*[:=]\s*([0-9]+\.([0-9]+))", re.IGNORECASE)


class Run:
    """One run with the pass that counts, by position of the stream."""

    def __init__(self, captured: Captured, score: Pass) -> None:
        self.captured = captured
        self.score = score
        known = score.ids[captured.positions_M[score.ids] >= 0]
        self.places = captured.positions_M[known]
        self.nats_N = self._by_position(captured.nats_M[known])
        self.marks_N = self._by_position(captured.marks_M[known])
        self.moment_N = self._by_position(captured.moments_M[known].astype(np.float64))

    def _by_position(self, values: np.ndarray) -> np.ndarray:
        found = np.full(self.captured.length, np.nan)
        found[self.places] = values
        return found


def noise(base: Run, again: Run) -> Probe:
    """A/A: how much two equal runs differ; nothing can be judged beyond ``NOISE_MOST``."""
    apart = np.abs(base.nats_N - again.nats_N)
    floor = _largest(apart)
    samples = int(np.isfinite(apart).sum())
    because = f"two equal runs differ by at most {floor:.3g} nats on {samples} targets"
    return judged("a-a", floor, NOISE_MOST, unit="nats", samples=samples, because=because)


def coverage(run: Run, context: int) -> Probe:
    """Each target once, but for a tail of less than a row that the published scripts drop or score twice."""
    counts_N, length = run.score.counts_N, run.captured.length
    never = _places(counts_N[1:] == 0) + 1
    often = _places(counts_N > 1)
    tail, end = "", length
    if len(never) and int(never[0]) >= length - context and len(never) == length - never[0]:
        tail, end, never = f"; the last {len(never)}, less than a row, are dropped", int(never[0]), never[:0]
    if len(often) and int(often[0]) >= end - context:
        tail, often = f"{tail}; {len(often)} of the last row are scored again, as published loops do", often[:0]
    if len(often) and run.score.has_arrays:
        return not_applicable(
            "coverage", "losses left torch as arrays, so it is not known which of them were summed", unit="targets"
        )
    wrong = float(len(never) + len(often))
    because = f"every one of {length - 1} targets is scored once{tail}"
    if wrong:
        parts = [f"{len(never)} are never scored ({_ranges(never, run)})"] if len(never) else []
        parts += [f"{len(often)} are scored more than once ({_ranges(often, run)})"] if len(often) else []
        because = f"of {length - 1} targets {' and '.join(parts)}"
    return judged("coverage", wrong, 0.0, unit="targets", samples=length - 1, because=because)


def choice(run: Run) -> Probe:
    """No comparison of losses has a say in which of several losses of a target is counted."""
    ids = [run.score.ids] if run.score.is_chosen else []
    ids += [event.ids for event in decisions(run.captured) if np.isin(event.ids, run.score.ids).any()]
    chosen = 0
    for each in ids:
        places = run.captured.positions_M[np.unique(each)]
        found, times = np.unique(places[places >= 0], return_counts=True)
        chosen = max(chosen, len(found[times > 1]))
    if run.score.is_chosen and not chosen:
        chosen = run.score.covered
    because = (
        f"{chosen} targets have a loss that was taken after comparing losses"
        if chosen
        else "no comparison of losses had a say in what is summed"
    )
    return judged("choice", float(chosen), 0.0, unit="targets", samples=len(run.places), because=because)


def future_flip(base: Run, flipped: Mapping[str, Run], flips: Mapping[str, Flip], floor: float) -> Probe:
    """Losses before a change stay as they are, of places that are scored no later than any that is changed.

    An evaluation may take documents in another order and learn from each: what is scored after a changed place, in the
    script's own order, may well move.
    """
    worst, samples, told = 0.0, 0, []
    for name, run in flipped.items():
        start = flips[name].start
        place = np.arange(base.captured.length)
        apart = np.abs(base.nats_N - run.nats_N)
        earlier = (place < start) & (base.moment_N <= _first_moment(base, flips[name])) & np.isfinite(apart)
        moved = _places(earlier & (apart > _TIMES * floor))
        samples += int(earlier.sum())
        worst = max(worst, _largest(apart[earlier]))
        if len(moved):
            told.append(
                f"{len(moved)} of {int(earlier.sum())} earlier losses move when {_what(flips[name])}: those of targets"
                f" {_ranges(moved, base)}"
            )
    because = "; ".join(told) or f"{samples} earlier losses stay as they are when {_all(flips)}"
    return judged("future-flip", worst, _TIMES * floor, unit="nats", samples=samples, because=because)


def self_flip(base: Run, flipped: Mapping[str, Run], flips: Mapping[str, Flip], again: Run) -> Probe:
    """The distribution that a target is scored by is the same whatever the target is."""
    floor = _largest(np.abs(base.marks_N - again.marks_N))
    starts = {name: flips[name].start for name in flipped}
    starts = {name: at for name, at in starts.items() if base.moment_N[at] <= _first_moment(base, flips[name])}
    apart = {name: abs(float(base.marks_N[at] - flipped[name].marks_N[at])) for name, at in starts.items()}
    apart = {name: value for name, value in apart.items() if np.isfinite(value)}
    worst = max(apart.values(), default=0.0)
    moved = [str(starts[name]) for name, value in apart.items() if value > _TIMES * floor]
    because = (
        f"the distribution at target {' and '.join(moved)} moves when only that target and later ones change"
        if moved
        else f"at {len(apart)} changed targets the distribution stays as it is"
    )
    return judged("self-flip", worst, _TIMES * floor, unit="nats", samples=len(apart), because=because)


def sum_to_one(run: Run) -> Probe:
    """What is picked as a log-probability comes of a distribution."""
    ids = np.unique(run.score.ids)
    sums = run.captured.log_sums_M[ids]
    measured = np.abs(sums[np.isfinite(sums)])
    worst = _largest(measured)
    off = int((measured > _NORMALISED).sum())
    because = (
        f"{off} of {len(ids)} scored rows are no distributions: log-sum-exp up to {worst:.3g} from 0"
        if off
        else f"{len(ids)} scored rows are normalised, {len(ids) - len(measured)} of them by cross_entropy itself"
    )
    return judged("sum-to-one", worst, _NORMALISED, unit="nats", samples=len(ids), because=because)


def score_first(run: Run, future: Probe) -> Probe:
    """No gradient of a target's loss is taken before the loss that counts is computed.

    A gradient before the whole pass may belong to an earlier evaluation whose state was put back: then changed
    targets leave earlier losses as they are, and that is told instead.
    """
    began = float(np.nanmin(run.moment_N))
    inside_N = np.zeros(run.captured.length, dtype=bool)
    before_N = np.zeros(run.captured.length, dtype=bool)
    for event in gradients(run.captured):
        places = run.captured.positions_M[event.ids]
        places = np.unique(places[places >= 0])
        late = places[run.moment_N[places] > event.moment]
        (inside_N if event.moment >= began else before_N)[late] = True
    early = _places(inside_N | before_N) if future.verdict == "failed" else _places(inside_N)
    samples = len(np.unique(run.places))
    because = f"no gradient is taken of any of {samples} targets before its score"
    if len(early):
        because = f"gradients are taken of {len(early)} targets before their scores: {_ranges(early, run)}"
    elif before_N.any():
        because = (
            f"gradients of {int(before_N.sum())} targets are taken before the pass that counts, but later targets"
            " leave its earlier losses as they are: what was learned was put back"
        )
    return judged("score-first", float(len(early)), 0.0, unit="targets", samples=samples, because=because)


def reported(run: Run) -> Probe:
    """A printed validation loss is the mean of the captured ones."""
    printed = _printed(run)
    if not printed:
        return not_applicable("reported", "no line with val_loss was printed after the pass that counts")
    mean = float(run.captured.nats_M[run.score.ids].mean())
    text, apart, limit = min(((text, abs(value - mean), limit) for text, value, limit in printed), key=lambda e: e[1])
    because = f"printed: {text}; the mean of the {len(run.score.ids)} captured losses in it is {mean:.8f}"
    return judged("reported", apart, limit, unit="nats", samples=len(printed), because=because)


def raw_is_normalised(run: Run) -> bool:
    """Whether a printed loss tells that picked values were normalised after all, out of sight."""
    raw = run.captured.kinds_M[run.score.ids] == RAW
    sums = np.where(raw, run.captured.log_sums_M[run.score.ids], 0.0)
    mean = float((run.captured.nats_M[run.score.ids] + sums).mean())
    return bool(raw.any()) and any(abs(value - mean) <= limit for _, value, limit in _printed(run))


def _printed(run: Run) -> list[tuple[str, float, float]]:
    """Each validation loss that was printed after the pass that counts, and how far the digits let it be off."""
    found = [match for line in run.score.lines for match in _LOSS.finditer(line) if "train" not in match[0]]
    return [
        (match[0], float(match[1]), 0.5 * 10.0 ** -len(match[2]) + _SUMMED * max(1.0, float(match[1])))
        for match in found
    ]


def _first_moment(run: Run, flip: Flip) -> float:
    """When the first of the changed places is scored; NaN, with which nothing compares, if none is."""
    moments = run.moment_N[flip.start : flip.stop]
    return float(np.nanmin(moments)) if np.isfinite(moments).any() else float("nan")


def _largest(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.max()) if len(finite) else 0.0


def _places(mask: np.ndarray) -> Ints:
    return np.flatnonzero(mask).astype(np.int64)


def _ranges(places: Ints, run: Run) -> str:
    """Places in words: the first stretches, and whether they are all starts of documents."""
    if bool((run.captured.tokens_N[places] == BOS).all()):
        return "all of them starts of documents"
    cuts = np.flatnonzero(np.diff(places) > 1) + 1
    stretches = [part for part in np.split(places, cuts) if len(part)]
    shown = [f"{part[0]}" if len(part) == 1 else f"{part[0]}..{part[-1]}" for part in stretches[:3]]
    return ", ".join(shown) + (f" and {len(stretches) - 3} more stretches" if len(stretches) > 3 else "")


def _what(flip: Flip) -> str:
    if flip.stop == flip.start + 1:
        return f"token {flip.start} changes"
    return f"tokens {flip.start}..{flip.stop - 1} change"


def _all(flips: Mapping[str, Flip]) -> str:
    return " or ".join(_what(flip) for flip in flips.values())


def verdicts(
    base: Run, again: Run, flipped: Mapping[str, Run], flips: Mapping[str, Flip], context: int
) -> Sequence[Probe]:
    """Every verdict, in the order of ``NAMES``."""
    floor = noise(base, again)
    future = future_flip(base, flipped, flips, floor.measured)
    if raw_is_normalised(base):
        sums = not_applicable(
            "sum-to-one", "logits were picked and normalised by other means: the printed loss says so"
        )
    else:
        sums = sum_to_one(base)
    return (
        floor,
        coverage(base, context),
        choice(base),
        future,
        self_flip(base, flipped, flips, again),
        sums,
        score_first(base, future),
        reported(base),
    )
