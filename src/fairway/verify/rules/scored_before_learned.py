"""Nothing of the validation text is learned from, or read as an input, before its score stands on the ledger."""

from collections.abc import Iterator

from fairway.verify.documents import document_starts
from fairway.verify.facts import Facts, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed
from fairway.verify.ledger import LedgerFacts, ScoringOrder

_MOST_NAMED = 3
_METHODS_WITHOUT_LEARNING = ("flat", "sliding")


def _check(facts: Facts) -> Iterator[Finding]:
    def one(seed: SeedFacts) -> Iterator[Finding]:
        ledger, opening, _ = seed.whole_ledger()
        order = ScoringOrder(ledger.scored)
        findings = [*_learned(seed, ledger, order), *_inputs(facts, seed, ledger, order)]
        kind = opening.method.get("kind")
        if kind in _METHODS_WITHOUT_LEARNING and ledger.learned:
            line = ledger.learned[0].line
            findings.append(
                failed(f"seed {seed.seed}: the method is {kind}, yet the ledger learns", file=ledger.file, line=line)
            )
        yield from findings[:_MOST_NAMED]
        if len(findings) > _MOST_NAMED:
            yield failed(f"seed {seed.seed}: {len(findings) - _MOST_NAMED} further breaches", file=ledger.file)
        if not findings:
            steps = len({span.entry for span in ledger.learned})
            yield passed(f"seed {seed.seed}: {steps} updates, all on targets scored before", file=ledger.file)

    yield from each_seed(facts, one)


def _learned(seed: SeedFacts, ledger: LedgerFacts, order: ScoringOrder) -> Iterator[Finding]:
    for span in ledger.learned:
        early = order.first_unscored(span.start, span.stop, before_entry=span.entry)
        if early is not None:
            yield failed(
                f"seed {seed.seed}: {span.what} learns from target {early}, which no earlier entry scored",
                file=ledger.file,
                line=span.line,
            )


def _inputs(facts: Facts, seed: SeedFacts, ledger: LedgerFacts, order: ScoringOrder) -> Iterator[Finding]:
    """Each input of a span is a document's first token, or a target of an earlier span, or of this one."""
    if facts.documents is None:
        return
    starts = frozenset(document_starts(facts.documents.of("val")))
    for rank, span in enumerate(ledger.scored):
        early = order.first_unknown_input(span, rank, starts)
        if early is not None:
            yield failed(
                f"seed {seed.seed}: targets {span.start}..{span.stop - 1} read input {early}, not scored before",
                file=ledger.file,
                line=span.line,
            )


RULE = Rule(
    id="scored-before-learned",
    why="Adapting to a token before grading it is training on the test set.",
    source="README: test-time training only on tokens already evaluated (rules 2.2 C1, C3; #402, #677, #1017, #1376)",
    scope="seed",
    check=_check,
)
