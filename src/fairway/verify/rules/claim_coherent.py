"""The fields of submission.json do not contradict one another."""

from collections.abc import Iterator

from fairway.verify import statistics
from fairway.verify.claims.claim import Claim
from fairway.verify.claims.compare import agrees
from fairway.verify.claims.headline import SCORE_DIGIT
from fairway.verify.claims.reader import spellings_given
from fairway.verify.claims.tell import at, few, need_claim, number, said
from fairway.verify.claims.verdicts import mean_of_seeds
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    claim = need_claim(submission)
    findings = [
        *_twice(submission, claim),
        *_seeds(submission, claim),
        *_mean(submission, claim),
        *_track(submission, claim),
    ]
    yield from findings
    if not findings:
        yield passed("no field contradicts another", file=claim.file)


def _twice(submission: Submission, claim: Claim) -> Iterator[Finding]:
    """Two spellings of one field with different values."""
    for key, most in (("val_bpb", SCORE_DIGIT), ("val_loss", SCORE_DIGIT), ("bytes_code", 1.0)):
        given = spellings_given(claim.raw, key)
        first = next(iter(given.items()), None)
        for other, value in list(given.items())[1:]:
            if first is not None and not agrees(first[1], value, most=most):
                message = f"{first[0]} = {number(first[1])}, but {other} = {number(value)}"
                if key == "val_bpb" and mean_of_seeds(submission) is False and _of_one_seed(claim, first[1]):
                    message += "; the first is the score of one seed"
                    yield failed(message, profile="strict", **at(submission, key))
                    yield review(message, profile="precedent", **at(submission, key))
                else:
                    yield failed(message, **at(submission, key))


def _seeds(submission: Submission, claim: Claim) -> Iterator[Finding]:
    named = set(claim.seeds or ())
    results = {int(seed) for seed in claim.per_seed or {}}
    if claim.seeds is not None and len(named) != len(claim.seeds):
        yield failed(f"a seed is named twice: {few(claim.seeds, 8)}", **at(submission, "seeds"))
    if named and results and named != results:
        message = f"seeds are {few(sorted(named), 8)}, results are given for {few(sorted(results), 8)}"
        yield failed(message, **at(submission, "seeds"))


def _mean(submission: Submission, claim: Claim) -> Iterator[Finding]:
    if mean_of_seeds(submission) is not False:
        return
    scores = [entry.val_bpb for entry in (claim.per_seed or {}).values() if entry.val_bpb is not None]
    mean = statistics.mean(scores)
    one = _of_one_seed(claim, claim.val_bpb or 0.0)
    message = f"{said(submission, 'val_bpb')}, the mean of the {len(scores)} seeds it lists is {mean:.8f}"
    if one:
        yield failed(f"{message}: it is the score of one seed", profile="strict", **at(submission, "val_bpb"))
        yield review(f"{message}: it is the score of one seed", profile="precedent", **at(submission, "val_bpb"))
    else:
        yield failed(message, **at(submission, "val_bpb"))


def _of_one_seed(claim: Claim, score: float) -> bool:
    listed = [entry.val_bpb for entry in (claim.per_seed or {}).values() if entry.val_bpb is not None]
    return any(agrees(score, each, most=SCORE_DIGIT) for each in listed)


def _track(submission: Submission, claim: Claim) -> Iterator[Finding]:
    if claim.track is None:
        return
    says_not = "non" in claim.track.lower()
    is_not = submission.track.name.startswith("non")
    if says_not != is_not and ("record" in claim.track.lower() or "16mb" in claim.track.lower()):
        message = f"says track {claim.track!r}, but lies in that of {submission.track.name}"
        yield review(message, **at(submission, "track"))


RULE = Rule(
    id="claim-coherent",
    why="A file that gives one number twice, and differently, claims neither.",
    source="corpus of 1,806 submission.json: mean, seeds and per-seed results are given side by side",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="State every number once; make val_bpb the mean of the seeds that seed_results lists.",
)
