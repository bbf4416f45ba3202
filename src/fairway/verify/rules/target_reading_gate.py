"""Whether a hint is given at a position does not depend on the token that stands there."""

import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, passed, review
from fairway.verify.legality.hint_loops import gates_in_c, gates_in_python
from fairway.verify.legality.sources import Sentence, c_sources, cannot_see, log_lines, python_programs, sentences
from fairway.verify.submission import Submission

_LOOK = (
    "the hint is there or not by what the scored token is: look whether the mixture still is a distribution "
    "that was fixed before that token was read"
)
_COUNTER = re.compile(r"\b(?!token_|any_)(\w*(?:within|word|class|space|boundary)\w*_gated?)\s*[=:]\s*(\d[\d,]*)")
_HINTS = re.compile(r"hint|tilt|n-?gram", re.IGNORECASE)
_GATE = re.compile(r"\b(?:gat(?:e|es|ed|ing)|hints?|expert|channel|kernel)\b", re.IGNORECASE)
_TARGET = re.compile(
    r"\btarget|tokens?_?\[\s*(?:p|t|i|pos)\s*\]|\bx_[pt]\b|current token|realized|realised|token being predicted",
    re.IGNORECASE,
)
_ADMITTED = re.compile(
    r"non-?causal (?:n-?gram|kernel|gat)|causality (?:bug|violation|issue|fix)|(?:rule|condition|c)\s?\d violation"
    r"|\bleak(?:s|ed|ing|age)?\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"\b(?:no|zero|without|cannot|free of|never|not)\b[^.;]{0,40}\b(?:leak|violat|causality bug|target)", re.IGNORECASE
)


def _check(submission: Submission) -> Iterator[Finding]:
    programs = python_programs(submission)
    sources = c_sources(submission)
    gates = [gate for program in programs for gate in gates_in_python(program)]
    gates += [gate for source in sources for gate in gates_in_c(source)]
    counted = list(_counted(submission))
    for gate in gates[:3]:
        yield review(
            f"{gate.hint} is written under {gate.flag}, which is read from the token at that position; {_LOOK}",
            file=gate.file,
            line=gate.line,
        )
    for file, line, name, count in counted[:3]:
        yield review(
            f"{count} hints came through {name}: look whether that gate reads the class of the scored token",
            file=file,
            line=line,
        )
    said = None if gates or counted else _admission(submission)
    if said is not None:
        yield review(
            "says of its hints, or of those they come from, that they read the scored token once: look whether the "
            "logs are of the corrected program",
            file=said.file,
            line=said.line,
        )
    if not gates and not counted and said is None:
        blind = cannot_see(submission)
        yield blind or passed(f"{len(programs) + len(sources)} programs: no hint depends on the token it is given for")


def _counted(submission: Submission) -> Iterator[tuple[str, int, str, str]]:
    """Logs that count how often a gate other than the tokens' own let a hint through."""
    for file, number, raw in log_lines(submission):
        if b"_gate" not in raw or b"=" not in raw or b"{" in raw:
            continue
        line = raw.decode("utf-8", "replace")
        if _HINTS.search(line):
            for name, count in _COUNTER.findall(line):
                if int(count.replace(",", "")) > 0:
                    yield file, number, name, count


def _admission(submission: Submission) -> Sentence | None:
    for sentence in sentences(submission):
        text = sentence.text
        if _GATE.search(text) and _TARGET.search(text) and _ADMITTED.search(text) and not _DENIED.search(text):
            return sentence
    return None


RULE = Rule(
    id="target-reading-gate",
    why="A gate that opens by the class of the token to come tells the model one or two bits of the answer.",
    source="#1420 and its review; #2118 (rules 2.2 C1, 2.3): what is given at a position may read the prefix alone",
    scope="submission",
    check=_check,
    category="target_reading_gate",
    fix="Take the class of the token before, or leave out the experts that need it (#1514); run every seed again.",
    cases=(1420, 1437, 1967, 2018, 2118, 2140),
)
