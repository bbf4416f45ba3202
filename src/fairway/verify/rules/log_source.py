"""The program that the logs print, and the size that they count for it, are those of the file that is shipped."""

from collections.abc import Iterator

from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.logs.asked import at, seeds
from fairway.verify.logs.facts import LogFacts
from fairway.verify.programs.program import Program
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    main = submission.programs.main
    told = seeds(submission)
    found: list[Finding] = []
    for log in told:
        found += _dump(log, None if main is None else main.file)
        if main is not None:
            found += _size(log, main)
    if not found:
        raise NoEvidence("no log prints its program or the size of its program")
    yield from found


def _dump(log: LogFacts, main: str | None) -> Iterator[Finding]:
    where = at(log, "dump")
    if log.dump_garbled and log.dump_bytes is None:
        yield review("prints its program torn to pieces, as where two outputs were written over each other", **where)
    if log.dump_bytes is None:
        return
    if log.dump_of is not None:
        yield passed(f"prints {log.dump_of}", **where)
    elif main is None:
        yield review("prints a program, and the folder ships none", **where)
    else:
        lines = "" if log.dump_differs is None else f", {log.dump_differs} lines apart"
        yield from _both(f"prints a program that is not {main}{lines}", where)
    counted = log.bytes_code_uncompressed
    if counted is not None and counted != log.dump_bytes:
        message = f"counts {counted:,} bytes of code, and prints a program of {log.dump_bytes:,}"
        yield from _both(message, at(log, "bytes_code_uncompressed"))


def _size(log: LogFacts, main: Program) -> Iterator[Finding]:
    counted = log.bytes_code_uncompressed
    if counted is None:
        return
    where = at(log, "bytes_code_uncompressed")
    shipped, inside = len(main.shipped), len(main.text.encode())
    if counted == shipped:
        yield passed(f"counts {counted:,} bytes of code, as many as {main.file} has", **where)
    elif counted == inside:
        yield passed(f"counts {counted:,} bytes of code, as many as {main.file} unpacks to", **where)
    else:
        packed = f" and unpacks to {inside:,}" if main.layers else ""
        yield from _both(f"counts {counted:,} bytes of code, {main.file} has {shipped:,}{packed}", where)


def _both(message: str, where: dict[str, object]) -> Iterator[Finding]:
    """By the letter the log is of another program; merged records show such logs, so a person looks."""
    yield failed(message, profile="strict", **where)
    yield review(message, profile="precedent", **where)


RULE = Rule(
    id="log-source",
    why="A log of another program says nothing of the one that is shipped.",
    source="openai/parameter-golf README: a train log, automatically produced by the script",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Ship the file that ran, byte for byte, and run again after every edit.",
    cases=(86,),
)
