"""Every seed has a run of its own: no log is a copy of another, with or without another seed on it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.logs.asked import at, seeds
from fairway.verify.logs.facts import LogFacts
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    told = seeds(submission)
    found = [*_bytes(submission), *_traces(told), *_names(told)]
    yield from found
    if not found:
        yield passed(f"{len(told)} logs, no two of one run")


def _bytes(submission: Submission) -> Iterator[Finding]:
    known = {log.file: log for log in submission.logs}
    for log in submission.logs:
        if log.duplicate_of is None:
            continue
        first = known[log.duplicate_of]
        same = "is byte for byte" if first.sha256 == log.sha256 else "tells, loss by loss, the run of"
        message = f"{same} {first.file}"
        mine, theirs = log.seed_in_name, first.seed_in_name
        if mine is not None and theirs is not None and mine != theirs:
            yield failed(f"{message}, under the name of another seed", file=log.file)
        else:
            yield review(message, file=log.file)


def _traces(told: Sequence[LogFacts]) -> Iterator[Finding]:
    same: dict[str, list[LogFacts]] = defaultdict(list)
    for log in told:
        if log.trace_sha256:
            same[log.trace_sha256].append(log)
    for logs in same.values():
        first, *others = logs
        for log in others:
            yield failed(
                f"has the training losses of {first.file}, step for step: one run, told twice", **at(log, "steps")
            )


def _names(told: Sequence[LogFacts]) -> Iterator[Finding]:
    for log in told:
        if None not in (log.seed_in_name, log.seed_logged) and log.seed_in_name != log.seed_logged:
            message = f"is named for seed {log.seed_in_name}, and ran with seed {log.seed_logged}"
            yield failed(message, **at(log, "seed_logged"))


RULE = Rule(
    id="log-copies",
    why="Two logs of one run make one seed look like two, and the spread look smaller than it is.",
    source="openai/parameter-golf README: logs over several independent runs",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Ship one log for each seed, named for the seed that it ran with.",
)
