"""The claimed size of the code is that of the program in the folder."""

from collections.abc import Iterator

from fairway.verify.claims.sums import code_bytes
from fairway.verify.claims.tell import at, need_claim, said
from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    claim, main = need_claim(submission), submission.programs.main
    if claim.bytes_code is None:
        yield passed("no size of the code is claimed", file=claim.file)
        return
    if main is None:
        raise NoEvidence("there is no program to weigh")
    place = at(submission, "bytes_code")
    size = len(main.shipped)
    logged = {log.bytes_code for log in submission.seed_logs.values() if log.bytes_code is not None}
    if claim.bytes_code == size:
        yield passed(f"{said(submission, 'bytes_code')} is the size of {main.file}", **place)
        return
    if claim.bytes_code == code_bytes(submission):
        yield passed(f"{said(submission, 'bytes_code')} is {main.file} with the code that it reaches", **place)
        return
    message = f"{said(submission, 'bytes_code')}, {main.file} has {size:,} bytes: {claim.bytes_code - size:+,}"
    if claim.bytes_code in logged and claim.bytes_code < size // 2:
        # Accepted records counted a packed program that they did not ship, and said so in the log.
        yield failed(f"{message}; the logs count a packed program that is not here", profile="strict", **place)
        yield review(f"{message}; the logs count a packed program that is not here", profile="precedent", **place)
    else:
        yield failed(message + ("; the logs agree with the claim" if claim.bytes_code in logged else ""), **place)


RULE = Rule(
    id="claimed-code-size",
    why="Code counts, byte by byte; another size is another file than the one that ran.",
    source="openai/parameter-golf README FAQ: counted code lives in train_gpt.py",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Ship the file that ran, and claim the size that it has.",
    cases=(769,),
)
