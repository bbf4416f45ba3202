"""What arithmetic says of a claim: true, false, or None where a question does not arise or nothing answers it.

Each question is a function of its own; rules ask the same functions and add what a reader must know.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairway.verify import statistics
from fairway.verify.claims import headline
from fairway.verify.claims.compare import Number, agrees, unit_of
from fairway.verify.claims.headline import SCORE_DIGIT, Headline
from fairway.verify.claims.sums import compared
from fairway.verify.logs.facts import LogFacts
from fairway.verify.submission import Submission

REQUIRED = ("author", "github_id", "name", "val_bpb")
"""What every accepted submission.json says, with few exceptions (corpus of 58)."""

RATIO_TOLERANCE = 1e-3
"""Relative, of val_loss / val_bpb: far below the difference of two tokenizers, far above rounding to four decimals."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A claimed number that no log shows."""

    what: str
    """For people: ``seed 42 steps``."""
    key: str
    """Canonical name of the claimed field."""
    claimed: Number
    shown: Sequence[Number]
    log: str | None = None


def verdicts(submission: Submission) -> dict[str, bool | None]:
    """Every question that is about the claim."""
    claim = submission.claim
    questions: Mapping[str, Callable[[Submission], bool | None]] = {
        "submission_required_fields": lambda s: not missing_fields(s),
        "claimed_code_size_matches_file": _code_size,
        "claimed_bytes_under_cap": _under_cap,
        "claimed_bytes_match_logs": bytes_match,
        "per_seed_bytes_match": lambda s: _none_differ(per_seed_bytes(s)),
        "claimed_bpb_match_logs": bpb_match,
        "per_seed_bpb_match": lambda s: _none_differ(per_seed_bpb(s)),
        "per_seed_loss_match": lambda s: _none_differ(per_seed_loss(s)),
        "claim_is_mean_of_its_seeds": mean_of_seeds,
        "claimed_std_match_logs": std_match,
        "claimed_loss_match_logs": loss_match,
        "claimed_loss_bpb_consistent": ratio_consistent,
        "readme_states_claim": readme_states,
        "leaderboard_matches_claim": leaderboard_matches,
        "claimed_times_match_logs": lambda s: _none_differ(times(s)),
        "every_claimed_seed_has_log": lambda s: None if missing_seeds(s) is None else not missing_seeds(s),
    }
    asked = {name: None if claim is None else question(submission) for name, question in questions.items()}
    comparison = compared(submission)
    return {
        "submission_json_parses": None if claim is None else claim.parses,
        **asked,
        "at_least_3_seeds": enough_seeds(submission),
        "beats_prev_sota_0005_nats": None if comparison is None else comparison.beats,
        "significance_p01": None if comparison is None else comparison.significant,
    }


def missing_fields(submission: Submission) -> list[str]:
    """Required fields that submission.json lacks or leaves empty."""
    claim = submission.claim
    return [name for name in REQUIRED if claim is None or getattr(claim, name) is None]


def meant(submission: Submission) -> Headline:
    """The scores that the claim rests on."""
    return headline.claimed(submission.logs, submission.claim)


def bpb_match(submission: Submission) -> bool | None:
    """Whether the claimed score is the mean of the logs' scores, or one of them."""
    claim = submission.claim
    return _one_of(None if claim is None else claim.val_bpb, _with_mean(meant(submission).bpb))


def loss_match(submission: Submission) -> bool | None:
    """Whether the claimed loss is the mean of the logs' losses, or one of them."""
    claim = submission.claim
    return _one_of(None if claim is None else claim.val_loss, _with_mean(meant(submission).loss))


def bytes_match(submission: Submission) -> bool | None:
    """Whether the claimed total is that of a log, or their mean; of a log that rounds it, to the digits it gives."""
    claim, logs = submission.claim, headline.trained(submission.logs)
    shown = [log.bytes_total for log in logs if log.bytes_total is not None]
    rounded = [log.megabytes_total for log in logs if log.bytes_total is None and log.megabytes_total is not None]
    if claim is None or claim.bytes_total is None or not (shown or rounded):
        return None
    return any(abs(claim.bytes_total - each) < 1.0 for each in _with_mean(shown)) or any(
        abs(claim.bytes_total - 1e6 * each) <= 10.0 ** (6 - decimals) for each, decimals in rounded
    )


def mean_of_seeds(submission: Submission) -> bool | None:
    """Whether the claimed score is the mean of what the claim says seed by seed."""
    claim = submission.claim
    if claim is None or claim.val_bpb is None:
        return None
    said = [entry.val_bpb for entry in (claim.per_seed or {}).values() if entry.val_bpb is not None]
    if not said:
        return None
    digit = max(unit_of(value, most=SCORE_DIGIT) for value in (*said, claim.val_bpb))
    return abs(claim.val_bpb - statistics.mean(said)) <= digit * (1.0 + 1e-6)


def std_match(submission: Submission) -> bool | None:
    """Whether the claimed spread is that of the logs, with n - 1 or n below the line."""
    claim, scores = submission.claim, meant(submission).bpb
    if claim is None or claim.val_bpb_std is None or len(scores) < 2:
        return None
    return any(agrees(claim.val_bpb_std, spread, most=SCORE_DIGIT) for spread in spreads(scores))


def spreads(scores: Sequence[float]) -> tuple[float, float]:
    """Standard deviations with n - 1 and with n below the line."""
    sample = statistics.sample_std(scores) or 0.0
    return sample, sample * ((len(scores) - 1) / len(scores)) ** 0.5


def ratio_consistent(submission: Submission) -> bool | None:
    """Whether loss and score of the claim belong together as those of the logs do."""
    claim, scale = submission.claim, meant(submission).nats_per_bit
    if claim is None or not claim.val_loss or not claim.val_bpb or scale is None:
        return None
    return abs(claim.val_loss / claim.val_bpb / scale - 1.0) <= RATIO_TOLERANCE


def per_seed_bpb(submission: Submission) -> list[Difference] | None:
    """Seeds whose claimed score is not in their log, those without a log among them; None where none is claimed."""
    return _seeds_differ(submission, "val_bpb", lambda score: score.val_bpb, missing=True)


def per_seed_loss(submission: Submission) -> list[Difference] | None:
    """Seeds whose claimed loss is not that of their log; None where there is none to compare."""
    return _seeds_differ(submission, "val_loss", lambda score: score.val_loss, missing=False)


def per_seed_bytes(submission: Submission) -> list[Difference] | None:
    """Seeds whose claimed size is not that of their log; None where there is none to compare."""
    claim = submission.claim
    logs = _by_seed(headline.trained(submission.logs))
    found: list[Difference] = []
    compared_any = False
    for seed, entry in ((claim.per_seed if claim is not None else None) or {}).items():
        shown = [log.bytes_total for log in logs.get(seed, ()) if log.bytes_total is not None]
        if entry.bytes_total is None or not shown:
            continue
        compared_any = True
        if entry.bytes_total not in shown:
            found.append(_difference(f"seed {seed} bytes", "bytes_total", entry.bytes_total, shown, logs[seed]))
    return found if compared_any else None


def missing_seeds(submission: Submission) -> list[int] | None:
    """Claimed seeds without a log of their own; None where no seed is claimed, or there is no log at all."""
    claim = submission.claim
    if claim is None or claim.seeds is None or not headline.trained(submission.logs):
        return None
    there = {seed for log in submission.seed_logs.values() for seed in (log.seed_in_name, log.seed_logged)}
    return [seed for seed in claim.seeds if seed not in there]


def enough_seeds(submission: Submission) -> bool | None:
    """Whether the logs hold as many different seeds as the README asks for; None where there is no log."""
    logs = headline.scored(submission.logs)
    return len(distinct_seeds(submission)) >= 3 if logs else None


def distinct_seeds(submission: Submission) -> list[int]:
    """The different seeds of the scored logs."""
    seeds = {headline.seed_of(log) for log in headline.scored(submission.logs)}
    return sorted(seed for seed in seeds if seed is not None)


def readme_states(submission: Submission) -> bool | None:
    """Whether the README names the claimed score, rounded to four decimals or more."""
    claim, readme = submission.claim, submission.readme
    if claim is None or claim.val_bpb is None or readme is None:
        return None
    return any(text in readme for text in spellings(claim.val_bpb))


def spellings(score: float) -> list[str]:
    """A score with four to eight decimals, as a README may round it."""
    return [f"{float(score):.{digits}f}" for digits in range(4, 9)]


def leaderboard_matches(submission: Submission) -> bool | None:
    """Whether the leaderboard states the claimed score; None where the folder does not stand there."""
    claim, chain = submission.claim, submission.leaderboard
    row = None if chain is None else chain.find(submission.track.name, submission.name)
    if row is None or not row.ranked or claim is None or claim.val_bpb is None:
        return None
    return agrees(claim.val_bpb, row.val_bpb, units=0.5)


def times(submission: Submission) -> list[Difference] | None:
    """Claimed seconds, steps and milliseconds a step that no log shows; None where there is none to compare."""
    found: list[Difference] = []
    compared_any = False
    for claim_key, what, value, logs in _timed(submission):
        # A log that says 0 has not measured it.
        shown = [each for log in logs for each in _TIMES[claim_key](log) if each]
        if not shown:
            continue
        compared_any = True
        if len(logs) > 1:
            first = [next((each for each in _TIMES[claim_key](log) if each), None) for log in logs]
            shown = list(_with_mean([each for each in first if each is not None])) + shown
        if not any(agrees(value, each) for each in shown):
            found.append(_difference(what, claim_key, value, shown, logs))
    return found if compared_any else None


_TIMES: Mapping[str, Callable[[LogFacts], tuple[Number | None, ...]]] = {
    "train_s": lambda log: (log.train_s,),
    "eval_s": lambda log: (log.eval_s, log.eval_sum_s),
    "steps": lambda log: (log.steps,),
    "step_ms": lambda log: (log.step_ms,),
}


def _timed(submission: Submission) -> Iterator[tuple[str, str, Number, Sequence[LogFacts]]]:
    """Field, name for people, claimed number, and the logs that could show it."""
    claim = submission.claim
    if claim is None:
        return
    runs, evaluations = headline.trained(submission.logs), headline.scored(submission.logs)
    of_seed = {"eval_s": _by_seed(evaluations)}
    trained = _by_seed(runs)
    for key in _TIMES:
        value = getattr(claim, key)
        by_seed = any(getattr(entry, key) is not None for entry in (claim.per_seed or {}).values())
        listed = isinstance(claim.raw.get(claim.spelled.get(key, key)), list)
        if value is not None and not (by_seed and listed):
            yield key, key, value, evaluations if key == "eval_s" else runs
        for seed, entry in (claim.per_seed or {}).items():
            value = getattr(entry, key)
            if value is not None:
                yield key, f"seed {seed} {key}", value, of_seed.get(key, trained).get(seed, ())


def _code_size(submission: Submission) -> bool | None:
    claim, main = submission.claim, submission.programs.main
    if claim is None or claim.bytes_code is None or main is None:
        return None
    return claim.bytes_code == len(main.shipped)


def _under_cap(submission: Submission) -> bool | None:
    claim = submission.claim
    if claim is None or claim.bytes_total is None:
        return None
    return claim.bytes_total <= submission.track.size.cap_bytes


def _seeds_differ(
    submission: Submission, key: str, value: Callable[[headline.Score], float | None], *, missing: bool
) -> list[Difference] | None:
    claim = submission.claim
    scores = meant(submission).scores
    found: list[Difference] = []
    compared_any = False
    for seed, entry in ((claim.per_seed if claim is not None else None) or {}).items():
        said = getattr(entry, key)
        mine = [score for score in scores if str(score.seed) == seed]
        shown = [each for score in mine if (each := value(score)) is not None]
        if said is None or not scores or not (shown or missing):
            continue
        compared_any = True
        if not any(agrees(said, each, most=SCORE_DIGIT) for each in shown):
            log = mine[0].file if mine else None
            found.append(Difference(what=f"seed {seed} {key}", key=key, claimed=said, shown=shown, log=log))
    return found if compared_any else None


def _by_seed(logs: Iterable[LogFacts]) -> dict[str, list[LogFacts]]:
    found: dict[str, list[LogFacts]] = {}
    for log in logs:
        found.setdefault(str(headline.seed_of(log)), []).append(log)
    return found


def _difference(what: str, key: str, claimed: Number, shown: Sequence[Number], logs: Sequence[LogFacts]) -> Difference:
    return Difference(what=what, key=key, claimed=claimed, shown=shown, log=logs[0].file if len(logs) == 1 else None)


def _with_mean(values: Sequence[Number]) -> tuple[Number, ...]:
    return (*values, statistics.mean(values)) if values else ()


def _one_of(claimed: Number | None, shown: Sequence[Number]) -> bool | None:
    if claimed is None or not shown:
        return None
    return any(agrees(claimed, each, most=SCORE_DIGIT) for each in shown)


def _none_differ(found: list[Difference] | None) -> bool | None:
    return None if found is None else not found
