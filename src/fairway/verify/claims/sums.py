"""Facts of all logs of a submission together, under the names that the bench compares."""

from collections.abc import Callable, Sequence
from typing import Any

from fairway.verify.claims import headline, predecessor
from fairway.verify.claims.claim import Claim, SeedClaim
from fairway.verify.claims.compare import agrees
from fairway.verify.claims.headline import SCORE_DIGIT, Headline
from fairway.verify.claims.predecessor import Comparison, Place
from fairway.verify.logs.facts import LogFacts
from fairway.verify.submission import Submission

CODE_SUFFIXES = (".py", ".pyx", ".c", ".cc", ".cpp", ".cu", ".cuh", ".h", ".hpp", ".sh", ".so", ".triton")
"""How the names of files end that hold code."""

_CLAIMED = ("val_bpb", "val_loss", "val_bpb_std", "bytes_total", "bytes_code", "bytes_model", "train_s", "eval_s")
_OF_SEED = ("val_bpb", "val_loss", "bytes_total", "steps", "step_ms", "train_s", "train_ms", "eval_s", "eval_ms")


def sum_facts(submission: Submission) -> dict[str, Any]:
    """What submission.json and the logs come to; None where nothing says."""
    claim, logs = submission.claim, submission.logs
    ends, meant = headline.final(logs), headline.claimed(logs, claim)
    scores = headline.scored(logs)
    runs = headline.trained(logs)
    comparison = compared(submission)
    return {
        "final_bpb_per_seed": headline.by_seed(ends) or None,
        "mean_bpb": ends.mean_bpb,
        "std_bpb": ends.std_bpb,
        "mean_bpb_of_claimed_lines": meant.mean_bpb,
        "std_bpb_of_claimed_lines": meant.std_bpb,
        "bytes_total_max": _largest(runs, lambda log: log.bytes_total),
        "train_s_max": _largest(runs, lambda log: log.train_s),
        "eval_s_max": _largest(scores, lambda log: log.eval_s),
        "recomputed_total_max": recomputed_total_max(submission),
        "headline_is": headline_is(meant, claim),
        "prev_sota": None if comparison is None else _told(comparison),
        "sota_order_ambiguous": None if comparison is None else order_ambiguous(submission),
    }


def claim_facts(submission: Submission) -> dict[str, Any]:
    """The claim under its canonical names."""
    claim = submission.claim
    names = (*_CLAIMED, "seeds", "hardware")
    said: dict[str, Any] = {name: None if claim is None else getattr(claim, name) for name in names}
    if said["seeds"] is not None:
        said["seeds"] = list(said["seeds"])
    per_seed = None if claim is None else claim.per_seed
    said["per_seed"] = None if per_seed is None else {seed: _seed_claim(entry) for seed, entry in per_seed.items()}
    return said


def code_bytes(submission: Submission) -> int | None:
    """Size of the main program as it lies there, with the code of the folder that it reaches; None without one."""
    main = submission.programs.main
    if main is None:
        return None
    programs = [program for program in submission.programs.helpers if program.file in submission.programs.reached]
    texts = [main.text, *(program.text for program in programs)]
    reached = {
        path
        for path in submission.tree.files
        if path.endswith(CODE_SUFFIXES)
        and path != main.file
        and (path in submission.programs.reached or _named_in(path, texts))
    }
    sizes = [submission.tree.files[path].size_bytes for path in reached]
    return len(main.shipped) + sum(sizes)


def _named_in(path: str, texts: Sequence[str]) -> bool:
    """Whether a program names a source file of another language, which it then compiles or loads."""
    name = path.rpartition("/")[2]
    return not path.endswith(".py") and any(f"{quote}{name}{quote}" in text for text in texts for quote in "\"'")


def recomputed_total_max(submission: Submission) -> int | None:
    """The largest model that a log states, with the code as it lies in the folder."""
    code = code_bytes(submission)
    model = _largest(headline.trained(submission.logs), model_bytes)
    return None if code is None or model is None else int(model) + code


def model_bytes(log: LogFacts) -> int | None:
    """Size of the packed model as a log states it, or as total less code."""
    if log.bytes_model is not None or log.bytes_total is None or log.bytes_code is None:
        return log.bytes_model
    return log.bytes_total - log.bytes_code


def place_of(submission: Submission) -> Place:
    """Where the submission stands in the chain: by its own line, else by what its change or its claim says."""
    chain = submission.leaderboard
    row = None if chain is None else chain.find(submission.track.name, submission.name)
    if row is not None:
        return Place(pr=row.pr, date=row.date, merged=row.merged, row=row)
    pr = submission.change.pr if submission.change is not None else None
    date = submission.claim.date if submission.claim is not None else None
    for text in (date, submission.name):
        if text is not None and _is_date(text[:10]):
            return Place(pr=pr, date=text[:10])
    return Place(pr=pr)


def claims_to_be_best(submission: Submission) -> bool:
    """Whether the submission means to beat all before it: by its track, or by naming a predecessor."""
    track, claim = submission.track, submission.claim
    return bool(track.gain_tests) and (
        track.claim == "implied" or (claim is not None and claim.predecessor is not None)
    )


def compared(submission: Submission) -> Comparison | None:
    """The claimed scores against the best before; None where there is no claim to be best, no chain or no score."""
    chain = submission.leaderboard
    if chain is None or not claims_to_be_best(submission):
        return None
    best = predecessor.predecessor(chain, submission.track.name, place_of(submission))
    scores = headline.claimed(submission.logs, submission.claim)
    return None if best is None or not scores.scores else predecessor.compare(scores, best)


def order_ambiguous(submission: Submission) -> bool:
    """Whether another order of the chain would give another answer."""
    assert submission.leaderboard is not None
    scores = headline.claimed(submission.logs, submission.claim)
    place = place_of(submission)
    return predecessor.orders_disagree(submission.leaderboard, submission.track.name, place, scores)


def headline_is(scores: Headline, claim: Claim | None) -> str | None:
    """What of the logs the claimed score is; None where it is none of it."""
    said = None if claim is None else claim.val_bpb
    mean = scores.mean_bpb
    if said is None or mean is None:
        return None
    for units, remark in ((0.5, ""), (1.0, " (off by one in the last digit)")):
        if len(scores.scores) > 1 and agrees(said, mean, most=SCORE_DIGIT, units=units):
            kind = "final scores" if all(score.final for score in scores.scores) else "scores"
            return f"mean of {len(scores.scores)} {kind}{remark}"
        found = next((s for s in scores.scores if agrees(said, s.val_bpb, most=SCORE_DIGIT, units=units)), None)
        if found is not None:
            return f"{'final score' if found.final else 'score'} of {found.file}{remark}"
    return None


def _told(comparison: Comparison) -> dict[str, Any]:
    row = comparison.predecessor
    told: dict[str, Any] = {
        "prev_run": row.title if row.title is not None else row.record,
        "prev_pr": row.pr,
        "prev_score": float(row.val_bpb),
        "prev_folder": row.record if row.merged is not None else None,
        "delta_bpb": comparison.gain_bpb,
        "delta_nats": comparison.gain_nats,
        "n": comparison.runs,
        "passes_0.005_nats_on_mean": comparison.beats,
        "t_one_sample": comparison.t_one_sample,
        "p_one_sample": comparison.p_one_sample,
        "passes_p01": comparison.significant,
        "p_any_improvement": comparison.p_any,
    }
    if comparison.welch is not None:
        scores = [score.val_bpb for score in row.scores]
        told |= {
            "t_welch": -comparison.welch.t,
            "p_welch": comparison.welch.p,
            "prev_n": len(scores),
            "prev_mean_logs": sum(scores) / len(scores),
        }
    return told


def _seed_claim(entry: SeedClaim) -> dict[str, Any]:
    values = {name: getattr(entry, name) for name in _OF_SEED}
    return {name: value for name, value in values.items() if value is not None}


def _largest(logs: Sequence[LogFacts], value: Callable[[LogFacts], float | None]) -> Any:
    return max((found for log in logs if (found := value(log)) is not None), default=None)


def _is_date(text: str) -> bool:
    return len(text) == 10 and text[4] == text[7] == "-" and text.replace("-", "").isdecimal()
