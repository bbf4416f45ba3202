"""What ran can be had from the file that ran, by decoding; the readable file beside it is what it was made from."""

from collections.abc import Iterator

from fairway.verify.facts import CODE, SOURCE, Facts, NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.twin import likeness, strangers

_MOST_NAMED = 3


def _check(facts: Facts) -> Iterator[Finding]:
    code = facts.need_code()
    if code.program is None:
        say = review if code.is_python else failed
        yield say(f"{code.hidden}, so nobody can read what ran", file=CODE)
        return
    how = " and ".join(code.program.layers) or "no decoder (it is its own source)"
    unpacked = f"{code.file.sha256[:12]} unpacks by {how} to {len(code.program.text.encode('utf-8'))} bytes"
    if facts.scope == "seed":
        yield passed(unpacked, file=CODE)
        return
    if facts.source is None:
        raise NoEvidence("is missing or cannot be read, so nothing says in readable form what ran", SOURCE)
    yield _source(facts.source, facts.files[SOURCE].sha256[:12], code.program.text, unpacked)


def _source(source: str, sha256: str, program: str, unpacked: str) -> Finding:
    try:
        alike = likeness(source, program)
    except ValueError as error:
        return failed(str(error), file=SOURCE)
    if alike is None:
        foreign = strangers(source, program)
        named = ", ".join(foreign[:_MOST_NAMED])
        message = f"is not what {CODE} ({unpacked}) was made from: {len(foreign)} words of that, {named}, are not in it"
        return review(message, file=SOURCE)
    seen = {
        "text": f"{SOURCE} ({sha256}) byte for byte",
        "named": f"which name {SOURCE} ({sha256}) by its hash and have no word that is not in it",
        "words": f"which have no word that is not in {SOURCE} ({sha256}); that the two do the same is not shown",
    }
    return passed(f"{unpacked}, {seen[alike]}", file=CODE)


RULE = Rule(
    id="one-program",
    why="What is read must be what ran; in accepted folders the file that is shown is often not the one that counted.",
    source="README: the log is produced by the script that is submitted (rules 1.1, 1.9; #1412, #1855)",
    scope="seed",
    check=_check,
)
