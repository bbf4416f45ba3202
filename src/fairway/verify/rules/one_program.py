"""The file that ran can be unpacked, and the readable file beside it is the same program."""

from collections.abc import Iterator

from fairway.verify.facts import CODE, SOURCE, Facts, NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.twin import likeness


def _check(facts: Facts) -> Iterator[Finding]:
    code = facts.need_code()
    if code.program is None:
        say = review if code.is_python else failed
        yield say(f"{code.hidden}, so nobody can read what ran", file=CODE)
        return
    how = " and ".join(code.program.layers) or "no decoder: it is its own source"
    unpacked = f"{code.file.sha256[:12]} unpacks by {how} to {len(code.program.text.encode('utf-8'))} bytes"
    if facts.scope == "seed":
        yield passed(unpacked, file=CODE)
        return
    if facts.source is None:
        raise NoEvidence("is missing or cannot be read, so nothing says in readable form what ran", SOURCE)
    alike = likeness(facts.source, code.program.text)
    source = facts.files[SOURCE].sha256[:12]
    if alike == "text":
        yield passed(f"{unpacked}, which are {SOURCE} ({source}) byte for byte", file=CODE)
    elif alike == "program":
        yield passed(f"{unpacked}, the program of {SOURCE} ({source}) node for node", file=CODE)
    else:
        yield review(f"is not shown to be the program that {CODE} ({unpacked}) runs", file=SOURCE)


RULE = Rule(
    id="one-program",
    why="What is read must be what ran; in accepted folders the file that is shown is often not the one that counted.",
    source="README: the log is produced by the script that is submitted (rules 1.1, 1.9; #1412, #1855)",
    scope="seed",
    check=_check,
)
