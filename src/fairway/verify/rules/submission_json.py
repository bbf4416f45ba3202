"""submission.json is JSON, and says who claims what."""

from collections.abc import Iterator

from fairway.verify.claims.tell import few, need_claim
from fairway.verify.claims.verdicts import missing_fields
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.submission import Submission


def _check(submission: Submission) -> Iterator[Finding]:
    claim = need_claim(submission)
    told = False
    for message, line in claim.problems:
        told = True
        broken = not claim.raw
        yield failed(message, file=claim.file, line=line, profile="both" if broken else "strict")
        if not broken:
            yield review(message, file=claim.file, line=line, profile="precedent")
    missing = missing_fields(submission) if claim.raw else []
    if missing:
        told = True
        nothing = claim.val_bpb is None and claim.val_loss is None
        message = f"{few(missing)} missing or empty"
        yield failed(message, file=claim.file, line=1, profile="both" if nothing else "strict")
        if not nothing:
            yield review(message, file=claim.file, line=1, profile="precedent")
    if claim.raw and claim.date is None:
        told = True
        yield review("date is missing: submissions are judged in the order in which they came", file=claim.file, line=1)
    if not told:
        yield passed(f"{len(claim.raw)} fields, the needed ones among them", file=claim.file)


RULE = Rule(
    id="submission-json",
    why="The leaderboard is made from this file; what it does not say, or says in no JSON, nobody can compare.",
    source="openai/parameter-golf README, Submission Process: submission.json with name, GitHub ID and val_bpb",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Write one JSON object in UTF-8 with author, github_id, name, date and the numeric val_bpb; quote no numbers.",
    cases=(505,),
)
