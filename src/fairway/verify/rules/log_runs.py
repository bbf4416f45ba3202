"""A log is of one run, from its first step to its last score, and can be read."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.logs.asked import at, seeds
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    told = seeds(submission)
    found = []
    for log in told:
        if log.runs_in_file > 1:
            message = f"holds {log.runs_in_file} runs; the facts are those of the last that has a score"
            found.append(review(message, **at(log, "final_val_bpb")))
        if log.train_s is not None and log.final_val_bpb is None:
            found.append(review("ends without a score of the compressed model", **at(log, "steps")))
    for log in submission.logs:
        found += [review(message, file=log.file, line=line) for message, line in log.problems]
    yield from found
    if not found:
        yield passed(f"{len(told)} logs, each of one run that ends with a score")


RULE = Rule(
    id="log-runs",
    why="Of several runs in one file nobody can say which one is claimed.",
    source="openai/parameter-golf README: a train log, produced by the script",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Ship the log of each run as the script wrote it, alone and whole.",
)
