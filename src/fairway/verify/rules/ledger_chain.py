"""The ledger is whole and unbroken, its sums are the sums of its entries, and it is the ledger of this score."""

import math
from collections.abc import Iterator

from fairway.verify.facts import Event, Facts, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed
from fairway.verify.ledger import Closing, LedgerFacts, Opening

_RELATIVE = 1e-9
"""Both sides sum in float64; the order of summation is all that may differ."""


def _check(facts: Facts) -> Iterator[Finding]:
    yield from each_seed(facts, _one)


def _one(seed: SeedFacts) -> Iterator[Finding]:
    ledger = seed.need_ledger()
    if ledger.breaks:
        for broken in ledger.breaks:
            yield failed(f"seed {seed.seed}: {broken.message}", file=ledger.file, line=broken.line or None)
        return
    ledger, opening, closing = seed.whole_ledger()
    findings = [*_sums(seed, ledger, opening, closing), *_same_run(seed, ledger, opening, closing)]
    yield from findings
    if not findings:
        yield passed(f"seed {seed.seed}: {ledger.entries} entries, head {ledger.head[:12]}", file=ledger.file)


def _sums(seed: SeedFacts, ledger: LedgerFacts, opening: Opening, closing: Closing) -> Iterator[Finding]:
    targets = sum(span.stop - span.start for span in ledger.scored)
    size_bytes = sum(span.bytes for span in ledger.scored)
    nats = math.fsum(span.nats for span in ledger.scored)
    place = {"file": ledger.file, "line": closing.line}
    if targets != closing.targets:
        yield failed(f"seed {seed.seed}: spans hold {targets} targets, 'close' says {closing.targets}", **place)
    if size_bytes != closing.bytes:
        yield failed(f"seed {seed.seed}: spans hold {size_bytes} bytes, 'close' says {closing.bytes}", **place)
    if not _same(nats, closing.nats):
        yield failed(f"seed {seed.seed}: spans hold {nats!r} nats, 'close' says {closing.nats!r}", **place)
    if ledger.plan_sha256 != opening.plan_sha256:
        yield failed(
            f"seed {seed.seed}: the entries follow a plan with digest {ledger.plan_sha256[:12]}, 'open' announced"
            f" {opening.plan_sha256[:12]}",
            file=ledger.file,
            line=1,
        )


def _same_run(seed: SeedFacts, ledger: LedgerFacts, opening: Opening, closing: Closing) -> Iterator[Finding]:
    artifact = seed.need_artifact()
    if opening.artifact_sha256 != artifact.sha256:
        yield failed(
            f"seed {seed.seed}: the ledger is of artifact {opening.artifact_sha256[:12]}, {artifact.path} is"
            f" {artifact.sha256[:12]}",
            file=ledger.file,
            line=1,
        )
    score = seed.only("evaluate", "score", name="final")
    yield from _same_score(seed, closing, score)


def _same_score(seed: SeedFacts, closing: Closing, score: Event) -> Iterator[Finding]:
    if not closing.targets or not closing.bytes:
        yield failed(f"seed {seed.seed}: nothing was scored", file=seed.need_ledger().file, line=closing.line)
        return
    due = {
        "tokens": float(closing.targets),
        "bytes": float(closing.bytes),
        "val_loss": closing.nats / closing.targets,
        "val_bpb": closing.nats / math.log(2.0) / closing.bytes,
    }
    for key, value in due.items():
        said = score.number(key)
        if not _same(said, value):
            yield failed(
                f"seed {seed.seed}: the score event says {key} {said!r}, the ledger gives {value!r}",
                file=score.file,
                line=score.line,
            )


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_RELATIVE, abs_tol=0.0)


RULE = Rule(
    id="ledger-chain",
    why="The score is a sum; whoever has the ledger can redo it, as long as no entry was taken out or put in.",
    source="fairway: the referee's ledger; rules 2.2 C9, the headline is the score of the reloaded artifact",
    scope="seed",
    check=_check,
)
