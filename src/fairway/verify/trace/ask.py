"""How a rule puts its question to what the programs of a folder do, and to what the folder says of itself."""

import re
from collections.abc import Callable, Iterable, Iterator

from fairway.verify.finding import Finding, passed, review, unverifiable
from fairway.verify.submission import Submission
from fairway.verify.trace.conduct import Course, courses

_DENIED = re.compile(
    r"\b(no|not|never|non|without|neither|nor|instead of|rather than|avoid\w*|remov\w*|disabl\w*|forbid\w*|banned|"
    r"illegal\w*|unlike|reject\w*|exclud\w*|free of|isn't|doesn't|didn't|don't|vs\.?|versus|false)\b|n't\b|[❌✗]|=\s*0\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.;!?|])\s+|\s+[—–]\s+")


def ask(
    submission: Submission, question: Callable[[Course], Iterable[Finding]], fine: str, words: re.Pattern[str] | None = None
) -> Iterator[Finding]:
    """Findings of a question to each program that runs; ``words`` count where the folder says it of itself."""
    looked = courses(submission)
    found = [finding for course in looked for finding in question(course)]
    said = [] if words is None else list(statements(submission, words))
    yield from found
    if found:
        return
    for file, line, text in said[:1]:
        yield review(f"the folder says of itself: {text!r}; look for the place in the program", file=file, line=line)
    if said:
        return
    if not looked:
        yield unverifiable("no program of the folder can be followed, so what it learns from and scores cannot be told")
        return
    course = looked[0]
    file = course.program.file
    gave_up = course.trace.gave_up
    if gave_up:
        yield unverifiable(f"the program was followed only in part ({gave_up}); up to there: {fine}", file=file)
    else:
        yield passed(fine, file=file)


def statements(submission: Submission, words: re.Pattern[str]) -> Iterator[tuple[str, int, str]]:
    """File, line and text of sentences in README and submission.json that say something and do not deny it."""
    texts = ((submission.readme_file, submission.readme), (submission.submission_file, submission.claim_text))
    for file, text in texts:
        for number, line in enumerate((text or "").splitlines(), start=1):
            for sentence in _SENTENCE.split(line):
                if file and words.search(sentence) and not _DENIED.search(sentence):
                    yield file, number, sentence.strip()[:160]
