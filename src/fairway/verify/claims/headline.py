"""The scores that a claim rests on: which line of which log, seed by seed, and what they come to.

A log may hold several scores (a round trip, a sliding window, an adaptation that failed), so the last one is not always
the claimed one. Where the claim says what a seed reached, the line that says so counts; else the final one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairway.verify import statistics
from fairway.verify.claims.claim import Claim
from fairway.verify.claims.compare import agrees
from fairway.verify.logs.facts import LogFacts

SCORE_DIGIT = 1e-4
"""The coarsest digit to which a score is compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What one run of one seed reached."""

    file: str
    seed: int | None
    """As the file's name says, else as the log does."""
    label: str | None
    val_bpb: float
    val_loss: float | None
    eval_s: float | None
    line: int | None
    final: bool
    """Whether it is what the log ends with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """Scores of a submission, one a run."""

    scores: tuple[Score, ...]

    @property
    def bpb(self) -> tuple[float, ...]:
        """Bits per byte, run by run."""
        return tuple(score.val_bpb for score in self.scores)

    @property
    def loss(self) -> tuple[float, ...]:
        """Nats per token of those runs that say them."""
        return tuple(score.val_loss for score in self.scores if score.val_loss is not None)

    @property
    def mean_bpb(self) -> float | None:
        """Mean over runs; None of none."""
        return statistics.mean(self.bpb) if self.scores else None

    @property
    def std_bpb(self) -> float | None:
        """Standard deviation over runs with n - 1 below the line; None of fewer than two."""
        return statistics.sample_std(self.bpb)

    @property
    def mean_loss(self) -> float | None:
        """Mean over runs; None where a run does not say its loss."""
        return statistics.mean(self.loss) if self.scores and len(self.loss) == len(self.scores) else None

    @property
    def nats_per_bit(self) -> float | None:
        """Nats per token that one bit per byte is here: depends on the tokenizer alone."""
        loss, bpb = self.mean_loss, self.mean_bpb
        return None if loss is None or not bpb else loss / bpb


def seed_of(log: LogFacts) -> int | None:
    """The seed of a log: by its name, else as it says itself."""
    return log.seed_in_name if log.seed_in_name is not None else log.seed_logged


def scored(logs: Sequence[LogFacts]) -> tuple[LogFacts, ...]:
    """The logs with the scores of seeds: a log of an evaluation alone stands before the training log of its seed."""
    evaluated = {seed_of(log) for log in logs if log.role == "seed_eval"}
    return tuple(
        log
        for log in logs
        if log.final_val_bpb is not None
        and (log.role in ("seed", "seed_eval") or (log.role == "seed_train" and seed_of(log) not in evaluated))
    )


def trained(logs: Sequence[LogFacts]) -> tuple[LogFacts, ...]:
    """The logs of the training runs of seeds."""
    return tuple(log for log in logs if log.role in ("seed", "seed_train"))


def final(logs: Sequence[LogFacts]) -> Headline:
    """What every seed's log ends with."""
    return Headline(scores=tuple(_final(log) for log in scored(logs)))


def claimed(logs: Sequence[LogFacts], claim: Claim | None) -> Headline:
    """The scores that the claim means: seed by seed the line that it quotes, else the final one."""
    ends = final(logs)
    if claim is None:
        return ends
    quoted = _chosen(tuple(_quoted(log, claim.per_seed or {}) for log in scored(logs)), claim)
    if claim.val_bpb is None or quoted != ends or _explains(ends, claim.val_bpb):
        return quoted
    return _of_one_label(logs, claim.val_bpb) or ends


def by_seed(headline: Headline) -> dict[str, float]:
    """Seed to score; where a seed has several runs, ``seed#file`` to score."""
    names = [str(score.seed) for score in headline.scores]
    return {
        name if names.count(name) == 1 else f"{name}#{score.file}": score.val_bpb
        for name, score in zip(names, headline.scores, strict=True)
    }


def _explains(headline: Headline, val_bpb: float) -> bool:
    mean = headline.mean_bpb
    shown = (*headline.bpb, *(() if mean is None else (mean,)))
    return any(agrees(val_bpb, score, most=SCORE_DIGIT) for score in shown)


def _final(log: LogFacts) -> Score:
    assert log.final_val_bpb is not None
    return Score(
        file=log.file,
        seed=seed_of(log),
        label=log.final_label,
        val_bpb=log.final_val_bpb,
        val_loss=log.final_val_loss,
        eval_s=log.eval_s,
        line=log.lines.get("final_val_bpb"),
        final=True,
    )


def _quoted(log: LogFacts, per_seed: Mapping[str, object]) -> Score:
    said = getattr(per_seed.get(str(seed_of(log))), "val_bpb", None)
    end = _final(log)
    if said is None or agrees(said, end.val_bpb, most=SCORE_DIGIT):
        return end
    return next((each for each in _others(log) if agrees(said, each.val_bpb, most=SCORE_DIGIT)), end)


def _chosen(scores: Sequence[Score], claim: Claim) -> Headline:
    """Where a seed ran more than once, the runs that the claim quotes, if it quotes any."""
    kept = [score for score in scores if _says(claim, score) is not False]
    missing = {score.seed for score in scores} - {score.seed for score in kept}
    return Headline(scores=tuple(score for score in scores if score in kept or score.seed in missing))


def _says(claim: Claim, score: Score) -> bool | None:
    """Whether the claim gives this score for its seed; None where it gives none."""
    entry = (claim.per_seed or {}).get(str(score.seed))
    return None if entry is None or entry.val_bpb is None else agrees(entry.val_bpb, score.val_bpb, most=SCORE_DIGIT)


def _others(log: LogFacts) -> list[Score]:
    """Every score line, the last first."""
    return [
        Score(
            file=log.file,
            seed=seed_of(log),
            label=line.label,
            val_bpb=line.val_bpb,
            val_loss=line.val_loss,
            eval_s=line.eval_s,
            line=line.line,
            final=False,
        )
        for line in reversed(log.scores)
    ]


def _of_one_label(logs: Sequence[LogFacts], val_bpb: float) -> Headline | None:
    """The scores of one label that every log has, where their mean or one of them is the claim."""
    tables = [{each.label: each for each in reversed(_others(log))} for log in scored(logs)]
    if not tables:
        return None
    for label in tables[0]:
        if all(label in table for table in tables):
            headline = Headline(scores=tuple(table[label] for table in tables))
            if _explains(headline, val_bpb):
                return headline
    return None
