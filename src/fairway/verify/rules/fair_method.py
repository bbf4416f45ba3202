"""The method of evaluation is one that may be called a score: nothing says of itself that it is invalid."""

from collections.abc import Iterator, Mapping
from typing import Any

from fairway.verify.facts import RECIPE, SUBMISSION, Facts, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed

_WHY = "its weights learn from validation targets before these are scored, so it is no score"


def _check(facts: Facts) -> Iterator[Finding]:
    recipe = facts.need_recipe().get("recipe")
    findings = []
    if _is_invalid(_method(recipe)):
        findings.append(failed(f"the recipe's method of evaluation is marked invalid: {_WHY}", file=RECIPE))
    if facts.submission is not None and facts.submission.get("invalid"):
        findings.append(failed(f"says of itself that it is invalid: {facts.submission['invalid']}", file=SUBMISSION))

    def one(seed: SeedFacts) -> Iterator[Finding]:
        ledger, opening, _ = seed.whole_ledger()
        if _is_invalid(opening.method):
            yield failed(f"seed {seed.seed}: the ledger's method is marked invalid: {_WHY}", file=ledger.file, line=1)

    findings += each_seed(facts, one)
    yield from findings
    if not findings:
        yield passed("neither recipe, claim nor ledger says that its method is invalid", file=RECIPE)


def _method(recipe: object) -> Mapping[str, Any]:
    score = recipe.get("score") if isinstance(recipe, dict) else None
    method = score.get("method") if isinstance(score, dict) else None
    return method if isinstance(method, dict) else {}


def _is_invalid(method: Mapping[str, Any]) -> bool:
    """Marked so, by whatever value but a plain no."""
    return method.get("invalid", False) is not False


RULE = Rule(
    id="fair-method",
    why="A score of targets that the weights were trained on measures memory.",
    source="README, FAQ (test-time training only on tokens already evaluated); rulings in #402 and #677; condition C3",
    scope="seed",
    check=_check,
    category="adapt_then_score",
    fix="Score each chunk first and learn from it afterwards.",
    cases=(212, 1048),
)
