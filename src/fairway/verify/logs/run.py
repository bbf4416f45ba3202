"""What one run of a script printed: its scores, clocks and sizes, and which of them count."""

import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from fairway.verify.logs import patterns as p
from fairway.verify.logs.facts import ByteCount, ScoreLine

LEAST_LOSSES = 3
"""Losses of so many steps do not come out equal in two runs."""


MOST_LINES = 4_000
"""So many lines of one kind are kept, the last; no log of a run has as many."""


def _some() -> deque[Any]:
    return deque(maxlen=MOST_LINES)


@dataclass(slots=True)
class Run:
    """What one run of a script printed, so far."""

    steps: int | None = None
    train_s: float | None = None
    coarse: bool = True
    """Whether the training clock is known to the tenth of a minute only."""
    stopped_s: float | None = None
    stated_s: float | None = None
    seen: set[str] = field(default_factory=set)
    scores: deque[ScoreLine] = field(default_factory=_some)
    diagnostics: deque[ScoreLine] = field(default_factory=_some)
    alone: deque[ScoreLine] = field(default_factory=_some)
    """Scores without a loss."""
    byte_counts: deque[ByteCount] = field(default_factory=_some)
    times: deque[tuple[str, str, float]] = field(default_factory=_some)
    """Label, score as written and seconds of each evaluation, diagnostics included."""
    named: set[tuple[str, str, str]] = field(default_factory=set)
    process_s: float | None = None
    total_eval_s: float | None = None
    totals: deque[tuple[str, int, int]] = field(default_factory=_some)
    megabytes: tuple[float, int] | None = None
    """A total in millions of bytes, and its decimals."""
    models: deque[tuple[str, int, int]] = field(default_factory=_some)
    code: tuple[int, int] | None = None
    code_uncompressed: tuple[int, int] | None = None
    warmup_s: float | None = None
    calibration: dict[str, float] = field(default_factory=dict)
    calibrates_on_itself: bool = False
    losses: list[str] = field(default_factory=list)
    """Step and training loss, as written."""
    decompress_s: float | None = None
    hinted_s: float = 0.0
    precompute_s: float | None = None
    partial: tuple[str, int] | None = None
    lines: dict[str, int] = field(default_factory=dict)

    @property
    def begun(self) -> bool:
        """Whether a first step after this belongs to another run."""
        return bool(self.steps and self.steps > 1) or bool(self.scores)

    @property
    def trace_sha256(self) -> str:
        """Of the training losses, where there are enough of them to tell two runs apart."""
        return hashlib.sha256(" ".join(self.losses).encode()).hexdigest() if len(self.losses) >= LEAST_LOSSES else ""


def final_score(run: Run) -> ScoreLine | None:
    """The last score, by the line with most decimals; a score without a loss if there is no other."""
    told = [score for score in run.scores if not p.PROGRESS.search(score.label)] or run.scores or run.alone
    if not told:
        return None
    last = told[-1]
    twins = [score for score in told if _stem(score.label) == _stem(last.label) and _agree(score, last)]
    return max(reversed(twins), key=lambda score: score.digits)


def _agree(one: ScoreLine, other: ScoreLine) -> bool:
    digits = min(one.digits, other.digits)
    return abs(one.val_bpb - other.val_bpb) <= 0.51 * 10.0**-digits


def _stem(label: str) -> str:
    return label.replace("_exact", "")


def eval_seconds(run: Run, final: ScoreLine) -> float | None:
    """Seconds of the line of a score, else of its twin, else of the last line of the same score to four digits."""
    if final.eval_s is not None:
        return final.eval_s
    for label, _, spent in reversed(run.times):
        if _stem(label) == _stem(final.label):
            return spent
    for _, bpb, spent in reversed(run.times):
        if f"{float(bpb):.4f}" == f"{final.val_bpb:.4f}":
            return spent
    return run.total_eval_s


def total_bytes(run: Run) -> tuple[int, int] | None:
    """The last total of a compressed model; a total without a format is the raw model where another line says so."""
    told = [(n, line) for form, n, line in run.totals if form]
    if told:
        return told[-1]
    plain = [(n, line) for form, n, line in run.totals if not form]
    raw = [n for form, n, _ in run.models if not form]
    code = run.code[0] if run.code is not None else 0
    later = [found for found in plain if not raw or found[0] != raw[0] + code]
    return later[-1] if later else None


def model_bytes(run: Run) -> tuple[int, int] | None:
    """Bytes of the last compressed model, and the line."""
    told = [(n, line) for form, n, line in run.models if form]
    if told:
        return told[-1]
    plain = [(n, line) for form, n, line in run.models if not form]
    return plain[-1] if len(plain) > 1 else None


def calibration_seconds(parts: dict[str, float]) -> float | None:
    """Seconds of calibration: the whole where it is told, else the parts; a later part may count the earlier ones."""
    if not parts:
        return None
    if "done" in parts:
        return parts["done"]
    made = parts.get("generated", 0.0)
    rest = max((spent for what, spent in parts.items() if what != "generated"), default=0.0)
    return round(rest if rest >= made else made + rest, 6)
