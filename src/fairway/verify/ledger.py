"""The entries of a score ledger, read without trust: what they say, and what breaks their chain.

A ledger is JSON lines. Each entry has ``i``, ``kind``, ``prev`` and ``hash``; the hash is SHA-256 of the entry's
canonical JSON without ``hash``, ``prev`` the hash of the entry before (64 zeros for the first). The order of kinds is
one ``open``, then ``score`` and ``learn``, then one ``close``.
"""

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fairway.verify import strict_json

FIRST_PREV = "0" * 64
LINE_LIMIT_BYTES = 64_000_000
_HASH_KEYS = {"i", "kind", "prev", "hash"}
_FIELDS = {
    "open": {"artifact_sha256", "tokens_sha256", "documents", "targets", "method", "plan_sha256"},
    "score": {"spans", "losses_sha256"},
    "learn": {"what", "spans"},
    "close": {"targets", "bytes", "nats"},
}


class Broken(NamedTuple):
    """A line of a ledger that is not what it should be."""

    message: str
    line: int


class ScoredSpan(NamedTuple):
    """Targets ``start..stop-1``, predicted from inputs ``context..stop-2``, with their sums."""

    entry: int
    line: int
    context: int
    start: int
    stop: int
    nats: float
    bytes: int


class LearnedSpan(NamedTuple):
    """Targets ``start..stop-1`` that an update was taken on."""

    entry: int
    line: int
    what: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is scored, by which method, after which plan."""

    artifact_sha256: str
    tokens_sha256: str
    documents: int
    targets: int
    method: dict[str, Any]
    plan_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """The sums that the referee ended with."""

    targets: int
    bytes: int
    nats: float
    line: int


@dataclass(slots=True, kw_only=True)
class LedgerFacts:
    """A ledger as read: ``breaks`` says what is wrong with it as a file, rules say what is wrong with the rest."""

    file: str
    entries: int = 0
    head: str = FIRST_PREV
    opening: Opening | None = None
    closing: Closing | None = None
    scored: list[ScoredSpan] = field(default_factory=list)
    """In the order of scoring."""
    learned: list[LearnedSpan] = field(default_factory=list)
    plan_sha256: str = ""
    """Recomputed from the entries."""
    breaks: list[Broken] = field(default_factory=list)


def read_ledger(path: Path, file: str) -> LedgerFacts:
    """Read ``path``, known as ``file`` in findings; whatever is wrong is in ``breaks``, nothing is raised."""
    ledger = LedgerFacts(file=file)
    plan = hashlib.sha256()
    for line, text in _lines(path, ledger):
        try:
            entry = _chained(strict_json.parse(text), text, ledger)
            _take(entry, line, ledger)
        except ValueError as error:
            ledger.breaks.append(Broken(str(error), line))
            # What follows a broken link proves nothing; one line is enough to say so.
            break
        if entry["kind"] in ("score", "learn"):
            plan.update(_plan_line(entry))
        ledger.entries += 1
    ledger.plan_sha256 = plan.hexdigest()
    if not ledger.breaks and ledger.closing is None:
        ledger.breaks.append(Broken("the ledger ends without its 'close' entry: truncated", ledger.entries))
    return ledger


def _lines(path: Path, ledger: LedgerFacts) -> Iterator[tuple[int, str]]:
    try:
        with path.open("rb") as file:
            number = 0
            while raw := file.readline(LINE_LIMIT_BYTES):
                number += 1
                if not raw.endswith(b"\n"):
                    ledger.breaks.append(Broken("the last line has no line feed: truncated", number))
                    return
                try:
                    yield number, raw[:-1].decode("ascii")
                except UnicodeDecodeError:
                    ledger.breaks.append(Broken("not ASCII", number))
                    return
    except OSError as error:
        ledger.breaks.append(Broken(f"cannot be read: {error.strerror or type(error).__name__}", 0))


def _chained(entry: Any, text: str, ledger: LedgerFacts) -> dict[str, Any]:
    """The entry, if it is the next one of the chain; ``ValueError`` otherwise."""
    if not isinstance(entry, dict) or not _HASH_KEYS <= entry.keys():
        raise ValueError("an entry is an object with i, kind, prev and hash")
    due = ledger.entries
    if entry["i"] != due or not strict_json.is_integer(entry["i"]):
        raise ValueError(f"entry {due} is numbered {entry['i']!r}")
    if entry["prev"] != ledger.head:
        raise ValueError(f"entry {due} is chained to {_short(entry['prev'])}, the one before it is {ledger.head[:12]}")
    content = {key: value for key, value in entry.items() if key != "hash"}
    hashed = strict_json.sha256_of(content)
    if entry["hash"] != hashed:
        raise ValueError(f"entry {due} has hash {_short(entry['hash'])}, its content has {hashed[:12]}")
    if strict_json.canonical(entry) != text.encode("ascii"):
        raise ValueError(f"entry {due} is not in canonical form")
    ledger.head = hashed
    return entry


def _take(entry: dict[str, Any], line: int, ledger: LedgerFacts) -> None:
    kind = entry["kind"]
    if kind not in _FIELDS:
        raise ValueError(f"kind must be open, score, learn or close, got {kind!r}")
    if entry.keys() != _FIELDS[kind] | _HASH_KEYS:
        raise ValueError(f"an entry of kind {kind} has {', '.join(sorted(_FIELDS[kind]))}, no more and no less")
    if (kind == "open") != (ledger.opening is None):
        raise ValueError("a ledger begins with its one 'open' entry")
    if ledger.closing is not None:
        raise ValueError("an entry after 'close'")
    if kind == "open":
        ledger.opening = _opening(entry)
    elif kind == "score":
        _digest(entry, "losses_sha256")
        for span in _rows(entry["spans"], 5):
            ledger.scored.append(_scored_span(span, ledger.entries, line))
    elif kind == "learn":
        if entry["what"] not in ("lora", "sgd"):
            raise ValueError(f"what must be lora or sgd, got {entry['what']!r}")
        for start, stop in _rows(entry["spans"], 2):
            if not (strict_json.is_integer(start) and strict_json.is_integer(stop) and 1 <= start < stop):
                raise ValueError(f"a learned span is [start, stop] with 1 <= start < stop, got [{start}, {stop}]")
            ledger.learned.append(LearnedSpan(ledger.entries, line, entry["what"], start, stop))
    else:
        targets, size_bytes, nats = _count(entry, "targets"), _count(entry, "bytes"), entry["nats"]
        if not strict_json.is_number(nats) or nats < 0:
            raise ValueError(f"nats must be a number, 0 or more, got {nats!r}")
        ledger.closing = Closing(targets=targets, bytes=size_bytes, nats=float(nats), line=line)


def _opening(entry: dict[str, Any]) -> Opening:
    if not isinstance(entry["method"], dict):
        raise ValueError(f"method must be an object, got {entry['method']!r}")
    return Opening(
        artifact_sha256=_digest(entry, "artifact_sha256"),
        tokens_sha256=_digest(entry, "tokens_sha256"),
        documents=_count(entry, "documents"),
        targets=_count(entry, "targets"),
        method=entry["method"],
        plan_sha256=_digest(entry, "plan_sha256"),
    )


def _scored_span(span: Sequence[Any], entry: int, line: int) -> ScoredSpan:
    context, start, stop, nats, size_bytes = span
    if not all(strict_json.is_integer(number) for number in (context, start, stop, size_bytes)):
        raise ValueError(f"a scored span is [context, start, stop, nats, bytes] with whole positions, got {span!r}")
    if not 0 <= context < start < stop or size_bytes < 0:
        raise ValueError(f"a scored span has 0 <= context < start < stop and bytes of 0 or more, got {span!r}")
    if not strict_json.is_number(nats) or nats < 0:
        raise ValueError(f"nats of a scored span must be a number, 0 or more, got {nats!r}")
    return ScoredSpan(entry, line, context, start, stop, float(nats), size_bytes)


def _rows(spans: Any, width: int) -> list[list[Any]]:
    if not isinstance(spans, list) or not all(isinstance(row, list) and len(row) == width for row in spans):
        raise ValueError(f"spans must be a list of lists of {width} numbers")
    return spans


def _count(entry: dict[str, Any], key: str) -> int:
    value = entry[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} must be a whole number, 0 or more, got {value!r}")
    return value


def _digest(entry: dict[str, Any], key: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise ValueError(f"{key} must be 64 hexadecimal digits, got {_short(value)}")
    return value


def _plan_line(entry: dict[str, Any]) -> bytes:
    """What the digest of a plan is taken of: the entry as it stood in the plan, before anything was scored."""
    step: dict[str, Any] = {"kind": entry["kind"]}
    if entry["kind"] == "score":
        step["spans"] = [row[:3] for row in entry["spans"]]
    else:
        step["spans"] = entry["spans"]
        step["what"] = entry["what"]
    return strict_json.canonical(step) + b"\n"


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text[:12]


def coverage(scored: Sequence[ScoredSpan], targets: int) -> Iterator[tuple[str, int]]:
    """What keeps the spans from holding each of targets ``1..targets`` exactly once, with the line it shows on."""
    due = 1
    last = 0
    for span in sorted(scored, key=lambda span: (span.start, span.stop)):
        last = span.line
        if span.start < due:
            yield f"targets {span.start}..{min(due, span.stop) - 1} are scored twice", span.line
        elif span.start > due:
            yield f"targets {due}..{span.start - 1} are never scored", span.line
        due = max(due, span.stop)
    if due <= targets:
        yield f"targets {due}..{targets} are never scored", last
    elif due > targets + 1:
        yield f"targets {targets + 1}..{due - 1} are scored, the stream ends at {targets}", last


class ScoringOrder:
    """Answers whether some positions were scored before an entry was reached."""

    def __init__(self, scored: Sequence[ScoredSpan]) -> None:
        ranked = sorted(enumerate(scored), key=lambda item: (item[1].start, item[0]))
        self._ranks = [rank for rank, _ in ranked]
        self._spans = [span for _, span in ranked]
        self._starts = [span.start for span in self._spans]
        # From which position on the spans up to this one follow each other without a gap, each after its neighbour.
        self._runs: list[int] = []
        for k, span in enumerate(self._spans):
            follows = k > 0 and self._spans[k - 1].stop == span.start and self._ranks[k - 1] < self._ranks[k]
            self._runs.append(self._runs[k - 1] if follows else span.start)

    def first_unscored(self, start: int, stop: int, *, before_entry: int) -> int | None:
        """The first of positions ``start..stop-1`` that no entry before ``before_entry`` scored, if there is one."""
        k = bisect_right(self._starts, stop - 1) - 1
        if k >= 0 and self._spans[k].entry < before_entry and self._spans[k].stop >= stop and self._runs[k] <= start:
            return None
        due = start
        while due < stop:
            span = self._span_at(due)
            if span is None or self._spans[span].entry >= before_entry:
                return due
            due = self._spans[span].stop
        return None

    def first_unknown_input(self, span: ScoredSpan, rank: int, document_starts: frozenset[int]) -> int | None:
        """The first input before a span that is no document's BOS and that no earlier span scored, if there is one.

        ``rank`` is the span's place in the order of scoring.
        """
        here = bisect_right(self._starts, span.start) - 1
        if self._ranks[here] == rank and self._runs[here] <= span.start:
            # The run was scored before this span; what is left is what lies before the run: a BOS as a rule.
            before_run = range(span.context, min(self._runs[here], span.start))
            if next((position for position in before_run if position not in document_starts), None) is None:
                return None
        due = span.context
        while due < span.start:
            earlier = self._span_at(due)
            if earlier is not None and self._ranks[earlier] < rank:
                due = self._spans[earlier].stop
            elif due in document_starts:
                due += 1
            else:
                return due
        return None

    def _span_at(self, position: int) -> int | None:
        k = bisect_right(self._starts, position) - 1
        return k if k >= 0 and position < self._spans[k].stop else None
