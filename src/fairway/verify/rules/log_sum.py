"""The total that a log states is the sum of its parts."""

from collections.abc import Iterator

from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed
from fairway.verify.logs.asked import at, seeds
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    said = 0
    for log in seeds(submission):
        total, code, model = log.bytes_total, log.bytes_code, log.bytes_model
        if total is None or code is None or model is None:
            continue
        said += 1
        terms = f"model {model:,} + code {code:,} = {model + code:,} bytes"
        if model + code == total:
            yield passed(terms, **at(log, "bytes_total"))
        else:
            yield failed(f"{terms}, the log states {total:,}", **at(log, "bytes_total"))
    if not said:
        raise NoEvidence("no log states model, code and total")


RULE = Rule(
    id="log-sum",
    why="A total that is not the sum of model and code hides one of them.",
    source="openai/parameter-golf README: code bytes plus compressed model bytes",
    scope="submission",
    check=_check,
    category="size",
    fix="Print the size of the file written, the size of the program, and their sum.",
)
