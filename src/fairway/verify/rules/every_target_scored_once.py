"""The ledger holds each target of the validation stream exactly once, and the stream is the whole one."""

from collections.abc import Iterator
from itertools import islice

from fairway.verify.facts import MANIFEST, Facts, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed
from fairway.verify.ledger import coverage

_MOST_GAPS_NAMED = 3


def _check(facts: Facts) -> Iterator[Finding]:
    def one(seed: SeedFacts) -> Iterator[Finding]:
        ledger, opening, closing = seed.whole_ledger()
        findings = []
        for message, line in islice(coverage(ledger.scored, opening.targets), _MOST_GAPS_NAMED):
            findings.append(failed(f"seed {seed.seed}: {message}", file=ledger.file, line=line))
        if closing.targets != opening.targets:
            findings.append(
                failed(
                    f"seed {seed.seed}: {opening.targets} targets at the start, {closing.targets} at the end",
                    file=ledger.file,
                    line=closing.line,
                )
            )
        findings += _whole(facts, seed, opening.targets, opening.documents)
        yield from findings
        if not findings:
            spans = len(ledger.scored)
            yield passed(f"seed {seed.seed}: {opening.targets} targets in {spans} spans, each once", file=ledger.file)

    yield from each_seed(facts, one)


def _whole(facts: Facts, seed: SeedFacts, targets: int, documents: int) -> Iterator[Finding]:
    """The stream that was opened is the validation set, not a part of it."""
    file = seed.need_ledger().file
    if facts.manifest is not None:
        val, listed = facts.manifest.get("val"), facts.manifest.get("documents")
        if isinstance(val, dict) and val.get("targets") != targets:
            yield failed(f"seed {seed.seed}: {targets} targets, {MANIFEST} has {val.get('targets')}", file=file, line=1)
        if isinstance(listed, dict) and listed.get("val") != documents:
            yield failed(
                f"seed {seed.seed}: {documents} documents, {MANIFEST} has {listed.get('val')}", file=file, line=1
            )
    fixed = facts.track.validation
    if fixed is not None:
        if documents != fixed.documents:
            yield failed(
                f"seed {seed.seed}: {documents} validation documents, the track has {fixed.documents}",
                file=file,
                line=1,
                source=fixed.source,
            )
        if not any(abs(targets - known) <= known * fixed.tolerance for known in fixed.targets):
            known_targets = ", ".join(str(known) for known in fixed.targets)
            yield failed(
                f"seed {seed.seed}: {targets} targets, the track's validation set has {known_targets} by tokenizer",
                profile="precedent",
                file=file,
                line=1,
                source=fixed.source,
            )


RULE = Rule(
    id="every-target-scored-once",
    why="A score over a part of the set, or over its easier half twice, is not the score.",
    source="rules 2.2 C4 and C5: a single pass over the full validation set (#1835, #1854, #846, #573)",
    scope="seed",
    check=_check,
)
