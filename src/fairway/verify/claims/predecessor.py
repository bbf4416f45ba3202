"""What a submission must beat, and whether it does: by the chain of its track, in three orders.

Submissions are judged in the order of their pull requests; where dates or merges would give another predecessor and
another answer, that is said. All tests are of nats per token unless told otherwise.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from fairway.verify import statistics
from fairway.verify.claims.headline import Headline
from fairway.verify.leaderboard import Accepted, Leaderboard, best_of

MARGIN_NATS = 0.005
"""openai/parameter-golf README: by so much a record must beat the one before it."""
P_MAX = 0.01
"""openai/parameter-golf README: p-value below which it does so significantly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a submission stands in the chain."""

    pr: int | None = None
    date: str | None = None
    merged: str | None = None
    row: Accepted | None = None
    """Its own line, where it is on the chain already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A submission against its predecessor."""

    predecessor: Accepted
    gain_bpb: float
    gain_nats: float | None
    """Nats per token."""
    gain_nats_per_byte: float
    runs: int
    t_one_sample: float | None = None
    p_one_sample: float | None = None
    """Of a gain of the margin, the predecessor's score taken as exact."""
    p_any: float | None = None
    """The same of no gain at all."""
    welch: statistics.Welch | None = None
    """One-sided, of a gain of the margin, against the predecessor's own runs."""

    @property
    def beats(self) -> bool | None:
        """Whether the mean is better by the margin; None where no log says nats."""
        return None if self.gain_nats is None else self.gain_nats >= MARGIN_NATS

    @property
    def significant(self) -> bool | None:
        """Whether it is so at the written level; None of a single run."""
        return None if self.p_one_sample is None else self.p_one_sample < P_MAX


def predecessor(chain: Leaderboard, track: str, place: Place) -> Accepted | None:
    """The best that stood when the pull request was opened."""
    return best_of(_earlier(chain.of(track), place, _by_pr))


def compare(headline: Headline, best: Accepted, *, margin: float = MARGIN_NATS) -> Comparison:
    """The scores of a submission against a line of the chain; ``ValueError`` where there is no score."""
    mean = headline.mean_bpb
    if mean is None:
        raise ValueError("there is no score to compare")
    scale = headline.nats_per_bit
    gain = float(best.val_bpb) - mean
    plain = Comparison(
        predecessor=best,
        gain_bpb=gain,
        gain_nats=None if scale is None else gain * scale,
        gain_nats_per_byte=gain * math.log(2.0),
        runs=len(headline.scores),
    )
    spread = headline.std_bpb
    if scale is None or not spread:
        return plain
    t, p = _one_sample(gain * scale, spread * scale, len(headline.scores), margin)
    _, p_any = _one_sample(gain * scale, spread * scale, len(headline.scores), 0.0)
    old = [score.val_bpb * scale for score in best.scores]
    welch = statistics.welch([bpb * scale for bpb in headline.bpb], old, margin=margin) if len(old) > 1 else None
    return replace(plain, t_one_sample=t, p_one_sample=p, p_any=p_any, welch=welch)


def by_order(chain: Leaderboard, track: str, place: Place) -> dict[str, Accepted]:
    """The best that stood before, in each order that gives one."""
    orders = {"pull requests": _by_pr, "dates": _by_date, "merges": _by_merge}
    found = {name: best_of(_earlier(chain.of(track), place, order)) for name, order in orders.items()}
    return {name: row for name, row in found.items() if row is not None}


def orders_disagree(chain: Leaderboard, track: str, place: Place, headline: Headline) -> bool:
    """Whether the order of dates, or of merges, would give other answers than that of pull requests."""
    results = [compare(headline, best) for best in by_order(chain, track, place).values()]
    return len({(result.beats, result.significant) for result in results}) > 1


def runs_needed(gain: float, spread: float, margin: float, p_max: float, *, most: int = 50) -> int | None:
    """How many runs of this spread would show a gain over the margin at ``p_max``; None if no number up to ``most``."""
    if gain <= margin:
        return None
    for runs in range(2, most + 1):
        if p_of_gain(gain, spread, runs, margin) < p_max:
            return runs
    return None


def p_of_gain(gain: float, spread: float, runs: int, margin: float) -> float:
    """One-sided p-value of a gain over the margin, the predecessor taken as exact; runs without scatter are sure."""
    if not spread:
        return 0.0 if gain > margin else 1.0
    return _one_sample(gain, spread, runs, margin)[1]


def _one_sample(gain: float, spread: float, runs: int, margin: float) -> tuple[float, float]:
    """One-sided t-test that the mean gain is above the margin: t and p."""
    t = (gain - margin) / (spread / math.sqrt(runs))
    return t, statistics.student_below(-t, float(runs - 1))


_Order = Callable[[Accepted, Place], bool]
"""Whether a line comes before a place."""


def _earlier(rows: Sequence[Accepted], place: Place, before: _Order) -> list[Accepted]:
    return [row for row in rows if row is not place.row and before(row, place)]


def _by_pr(row: Accepted, place: Place) -> bool:
    if place.row is not None:
        return row.line < place.row.line and (row.pr is None or row.pr != place.row.pr)
    if place.pr is not None:
        return row.pr is None or row.pr < place.pr
    return row.date[:10] <= place.date[:10] if place.date is not None else True


def _by_date(row: Accepted, place: Place) -> bool:
    if place.date is None or row.date[:10] == place.date[:10]:
        return _by_pr(row, place)
    return row.date[:10] < place.date[:10]


def _by_merge(row: Accepted, place: Place) -> bool:
    if place.merged is None:
        return _by_pr(row, place)
    return row.merged is not None and _utc(row.merged) < _utc(place.merged)


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
