"""The claimed size is what the logs say, for every seed."""

from collections.abc import Iterator

from fairway.verify.claims import headline
from fairway.verify.claims.sums import code_bytes, model_bytes
from fairway.verify.claims.tell import at, few, need_claim, need_logs, number, said
from fairway.verify.claims.verdicts import bytes_match, per_seed_bytes
from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    claim = need_claim(submission)
    need_logs(submission)
    right, seeds = bytes_match(submission), per_seed_bytes(submission)
    if right is None and seeds is None:
        raise NoEvidence("no size is claimed that a log states too", file=claim.file)
    for difference in seeds or ():
        shown = few(number(each) for each in difference.shown)
        message = f"{difference.what}: claimed {number(difference.claimed)}, {difference.log or 'the logs'} say {shown}"
        yield failed(message, **at(submission, "seed_results"))
    if right is False:
        yield from _total(submission, claim.bytes_total or 0)
    elif right is not None:
        yield from _largest(submission, claim.bytes_total or 0)
    elif not seeds:
        yield passed("every seed's claimed size is that of its log", file=claim.file)


def _total(submission: Submission, claimed: int) -> Iterator[Finding]:
    logs = headline.trained(submission.logs)
    place = at(submission, "bytes_total")
    told = few(f"{log.file} {number(log.bytes_total)}" for log in logs if log.bytes_total is not None)
    message = f"{said(submission, 'bytes_total')} is the total of no log: {told}"
    code = code_bytes(submission)
    models = [model for log in logs if (model := model_bytes(log)) is not None]
    if code is not None and claimed in {model + code for model in models}:
        yield review(f"{message}; it is a model of theirs with the code as it lies here, {code:,} bytes", **place)
    elif claimed in models:
        yield failed(f"{message}; it is a model without the code, which counts", **place)
    else:
        yield failed(message, **place)


def _largest(submission: Submission, claimed: int) -> Iterator[Finding]:
    totals = [log.bytes_total for log in headline.trained(submission.logs) if log.bytes_total is not None]
    place = at(submission, "bytes_total")
    if totals and claimed < max(totals):
        message = f"{said(submission, 'bytes_total')}, the largest seed has {max(totals):,}"
        over = max(totals) > submission.track.size.cap_bytes
        yield (failed if over else passed)(message + (", over the cap" if over else ""), **place)
    else:
        yield passed(f"{said(submission, 'bytes_total')} is what the logs say", **place)


RULE = Rule(
    id="claimed-bytes",
    why="The size is half of the claim; a number that no run printed is of another artifact.",
    source="openai/parameter-golf README FAQ: code bytes plus compressed model bytes, every seed under the cap",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Copy 'Total submission size' of every seed's log; bytes_total is the largest of them.",
    cases=(1477, 1667, 1412),
)
