"""A record shows as many different seeds as the track asks for."""

from collections.abc import Iterator

from fairway.verify.claims.sums import claims_to_be_best
from fairway.verify.claims.tell import few, need_logs
from fairway.verify.claims.verdicts import distinct_seeds
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    least = submission.track.seeds.least
    if not claims_to_be_best(submission):
        yield passed(f"track {submission.track.name} makes no claim to be the best, so no number of seeds is asked for")
        return
    logs = need_logs(submission)
    seeds = distinct_seeds(submission)
    message = f"{len(seeds)} different seeds in {len(logs)} logs ({few(seeds, 8)}), {least} are asked for"
    if len(seeds) >= least:
        yield passed(message)
        return
    yield failed(message, file=logs[0].file, profile="strict")
    yield review(message, file=logs[0].file, profile="precedent")


RULE = Rule(
    id="seeds-enough",
    why="The scatter of seeds is as large as many a gain; one run shows nothing of it.",
    source="openai/parameter-golf README: usually three runs; merged records of March 2026 have one",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Run three seeds of the submitted configuration and ship their logs.",
    cases=(1851,),
)
