"""The evaluation saw the artifact, the code and the validation shards, and nothing else; and who says so."""

from collections.abc import Iterator

from fairway.verify.facts import ENVIRONMENT, Facts
from fairway.verify.finding import Finding, Rule, failed, passed, unverifiable
from fairway.verify.outside import stages


def _check(facts: Facts) -> Iterator[Finding]:
    mechanisms: set[str] = set()
    for seen in stages(facts):
        if seen.stage != "evaluate":
            continue
        walls = seen.isolation
        where = f"seed {seen.seed}: the evaluation"
        if walls["state"] != "enforced":
            reason = walls.get("reason") or walls["state"]
            yield unverifiable(f"{where} was not enclosed ({reason}): it could have read anything", file=ENVIRONMENT)
            continue
        mechanisms.add(str(walls["mechanism"]))
        if walls.get("network") != "none":
            yield failed(f"{where} had a network", file=ENVIRONMENT)
        for path in walls.get("reads", ()):
            if path.rstrip("/").endswith("/train") or "_train_" in path:
                yield failed(f"{where} was shown training shards: {path}", file=ENVIRONMENT)
    if mechanisms:
        yield passed(
            f"every evaluation was enclosed by {', '.join(sorted(mechanisms))}: no network, no training shards"
        )


RULE = Rule(
    id="isolation",
    why="What an evaluation can reach, it may have read: training text, the network, another run's answers.",
    source="README: no network and no training data during evaluation (rules 1.4); fairway: environment.json",
    scope="record",
    check=_check,
    category="integrity",
    fix="Install bubblewrap (or allow user namespaces) and evaluate again.",
)
