"""Every claimed seed has a log of its own, and no run counts twice."""

from collections import Counter
from collections.abc import Iterator

from fairway.verify.claims import headline
from fairway.verify.claims.tell import at, few, need_logs
from fairway.verify.claims.verdicts import missing_seeds
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    need_logs(submission)
    findings = [*_missing(submission), *_twice(submission), *_unclaimed(submission)]
    yield from findings
    if not findings:
        logs = headline.scored(submission.logs)
        yield passed(f"seeds of {len(logs)} logs: {few((headline.seed_of(log) for log in logs), 8)}")


def _missing(submission: Submission) -> Iterator[Finding]:
    missing = missing_seeds(submission)
    if missing:
        there = sorted({seed for log in submission.seed_logs.values() if (seed := headline.seed_of(log)) is not None})
        message = f"no log of seed {few(missing, 8)}; the logs are of {few(there, 8) or 'seeds that they do not say'}"
        yield failed(message, **at(submission, "seeds"))


def _twice(submission: Submission) -> Iterator[Finding]:
    logs = headline.scored(submission.logs)
    counts = Counter(seed for log in logs if (seed := headline.seed_of(log)) is not None)
    for seed, count in sorted(counts.items()):
        if count > 1:
            files = [log.file for log in logs if headline.seed_of(log) == seed]
            yield review(
                f"{count} logs are of seed {seed}: {few(files)}; they do not show how seeds scatter", file=files[0]
            )


def _unclaimed(submission: Submission) -> Iterator[Finding]:
    claim = submission.claim
    if claim is None or claim.seeds is None or len(claim.seeds) < 2:
        return
    for log in headline.scored(submission.logs):
        if not {log.seed_in_name, log.seed_logged} & set(claim.seeds) and headline.seed_of(log) is not None:
            message = f"is of seed {headline.seed_of(log)}, which is not among the claimed ones: {few(claim.seeds, 8)}"
            yield review(message, file=log.file, line=log.lines.get("seed_logged"))


RULE = Rule(
    id="claimed-seeds",
    why="A seed without a log is a number without a run; a log that counts twice makes the spread too small.",
    source="openai/parameter-golf README: train logs of the runs that the claim rests on; #2124",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Ship one log a seed, written by the submitted program, and list exactly those seeds.",
    cases=(86, 2124, 1371),
)
