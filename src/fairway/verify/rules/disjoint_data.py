"""No document is on both sides of the split."""

from collections.abc import Iterator

from fairway.verify.facts import MANIFEST, Facts, NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed

_MOST_NAMED = 3


def _check(facts: Facts) -> Iterator[Finding]:
    manifest = facts.need_manifest()
    if manifest.get("documents") is None:
        raise NoEvidence("a published export: its documents are not at hand, so the split cannot be redone", MANIFEST)
    table = facts.need_documents()
    train, val = table.of("train"), table.of("val")
    if not train or not val:
        raise NoEvidence(f"{len(train)} training and {len(val)} validation documents: no split to check", table.file)
    trained = {row.sha256: row.line for row in train}
    both = [row for row in val if row.sha256 in trained]
    for row in both[:_MOST_NAMED]:
        yield failed(
            f"validation document {row.sha256[:12]} is training document of line {trained[row.sha256]}",
            file=table.file,
            line=row.line,
        )
    if len(both) > _MOST_NAMED:
        yield failed(f"{len(both)} validation documents in all are training documents", file=table.file)
    said = manifest["documents"].get("overlap") if isinstance(manifest["documents"], dict) else None
    if said != len(both):
        yield failed(f"documents.overlap is {said}, the documents give {len(both)}", file=MANIFEST)
    if not both and said == 0:
        yield passed(f"{len(train)} training and {len(val)} validation documents, none in common", file=table.file)


RULE = Rule(
    id="disjoint-data",
    why="A validation document that was trained on is remembered, not predicted.",
    source="rules 1.4 and 2.2 C7 (#2127, #2146, #44)",
    scope="seed",
    check=_check,
)
