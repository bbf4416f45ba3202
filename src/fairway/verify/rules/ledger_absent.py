"""Whether the folder holds the evidence that fairway's own records bring: ledgers, digests, events."""

from collections.abc import Iterator

from fairway.verify.facts import CHECKSUMS, RECIPE
from fairway.verify.finding import Finding, Rule, passed, unverifiable
from fairway.verify.submission import Submission

_EVIDENCE = (RECIPE, CHECKSUMS)


def _check(submission: Submission) -> Iterator[Finding]:
    missing = [file for file in _EVIDENCE if file not in submission.tree.files]
    if missing:
        yield unverifiable(
            "there is no ledger, no digest and no recipe in the folder, so the order of scoring and learning, the "
            "tokens that were scored and the bytes of the artifact cannot be recounted from it"
        )
    else:
        yield passed("recipe and digests are there; the rules for records with a ledger are asked as well")


RULE = Rule(
    id="ledger-evidence",
    why="Logs are prose: without a ledger nobody can recount from a folder what was scored, and in which order.",
    source="fairway: records/*/recipe.json, SHA256SUMS, seed*/ledger.jsonl",
    scope="submission",
    check=_check,
    fix="Make the record by `fairway record`, which writes the ledgers, the digests and the events.",
)
