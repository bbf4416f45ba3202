"""No table that the score is mixed with is looked up by a hash of the very token that is scored."""

import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.legality.sources import c_sources, cannot_see, python_programs, sentences
from fairway.verify.legality.table_keys import pairs_in_c, pairs_in_python
from fairway.verify.submission import Submission

_LOOK = (
    "look whether the quotient of the two counts is used as a probability: two tables that collide do not make a "
    "distribution that sums to one, and only the scored token's value is ever computed"
)
_SAID = re.compile(
    r"\A(?=.*n-?gram)(?=.*\bhash(?:ed)?\b)(?=.*(?:mix|interpolat|blend|backoff|back-off))(?=.*(?:table|cache|bucket))",
    re.IGNORECASE,
)


def _check(submission: Submission) -> Iterator[Finding]:
    programs = python_programs(submission)
    sources = c_sources(submission)
    pairs = [pair for program in programs for pair in pairs_in_python(program)]
    pairs += [pair for source in sources for pair in pairs_in_c(source)]
    for pair in pairs[:3]:
        yield review(
            f"{pair.both} is a table's key made of the hash that makes {pair.context} and one token more; {_LOOK}",
            file=pair.file,
            line=pair.line,
        )
    if pairs:
        return
    said = None if programs else next((s for s in sentences(submission) if _SAID.search(s.text)), None)
    if said is not None:
        yield review(
            "says that hashed n-gram tables are mixed with the model, and ships no program that shows how the "
            "mixture is made to sum to one",
            file=said.file,
            line=said.line,
        )
        return
    blind = cannot_see(submission)
    yield blind or passed(
        f"{len(programs) + len(sources)} programs: no pair of tables keyed by a context and by the context with one "
        "token more"
    )


RULE = Rule(
    id="target-keyed-cache",
    why="A cache that is looked up by the token to be scored gives that token a weight of its own: nobody ever sees "
    "the whole distribution, and over all tokens it adds up to far more than one.",
    source="ruling on #982: does not renormalise, looks at the target to mix (rules 2.2 C2; #659, #779, #886)",
    scope="submission",
    check=_check,
    category="target_keyed_cache",
    fix="Predict a token from the prefix alone, and renormalise over the whole vocabulary (the tilt of #1514).",
    cases=(779, 797, 886, 982, 1147),
)
