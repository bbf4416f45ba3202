"""How a rule puts its question to what the programs of a folder do, and to what the folder says of itself."""

import re
from collections.abc import Callable, Iterable, Iterator

from fairway.verify.finding import Finding, passed, review, unverifiable
from fairway.verify.submission import Submission
from fairway.verify.trace.conduct import Course, courses

_DENIED = re.compile(
    r"\b(no|not|never|non|without|neither|nor|instead of|rather than|avoid\w*|remov\w*|disabl\w*|forbid\w*|banned|"
    r"illegal\w*|unlike|reject\w*|exclud\w*|free of|vs\.?|versus|false|previous|prior|earlier)\b|n't\b|[❌✗]|=\s*0\b|"
    r"#\d{2,}",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"(?<=[.;!?|])\s+|\s+[—–]\s+")


def ask(
    submission: Submission,
    question: Callable[[Course], Iterable[Finding]],
    fine: str,
    words: re.Pattern[str] | None = None,
) -> Iterator[Finding]:
    """Findings of a question to each program that runs; else ``fine`` as a passing sentence.

    ``words`` is what a folder would say of itself where the answer is bad: its titles and submission.json count where
    the programs show nothing, all of its README where no program can be followed.
    """
    looked = courses(submission)
    found = [finding for course in looked for finding in question(course)]
    if found:
        yield from found
        return
    if words is not None and (told := next(statements(submission, words, titles=bool(looked)), None)) is not None:
        file, line, text = told
        yield review(f"the folder says of itself: {text!r}; look for the place in the program", file=file, line=line)
    elif not looked:
        yield unverifiable("no program of the folder can be followed, so what it learns from and scores cannot be told")
    elif looked[0].trace.gave_up:
        why = looked[0].trace.gave_up
        yield unverifiable(
            f"the program was followed in part ({why}); up to there: {fine}", file=looked[0].program.file
        )
    else:
        yield passed(fine, file=looked[0].program.file)


def statements(submission: Submission, words: re.Pattern[str], *, titles: bool) -> Iterator[tuple[str, int, str]]:
    """File, line and text of sentences in README and submission.json that say something and do not deny it."""
    texts = ((submission.readme_file, submission.readme), (submission.submission_file, submission.claim_text))
    for file, text in texts:
        for number, line in enumerate((text or "").splitlines(), start=1):
            if titles and file == submission.readme_file and not line.startswith("#"):
                continue
            for sentence in _SENTENCE.split(line):
                if file and words.search(sentence) and not _DENIED.search(sentence):
                    yield file, number, sentence.strip()[:160]
