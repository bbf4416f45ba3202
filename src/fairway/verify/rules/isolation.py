"""The evaluation was shown no training shards, the calibration no validation shards; and who says so."""

from collections.abc import Iterator

from fairway.verify.facts import ENVIRONMENT, Facts
from fairway.verify.finding import Finding, Rule, failed, passed, unverifiable
from fairway.verify.outside import Seen, stages

_KEPT_FROM = {
    "calibrate": ("calibration", "val", "validation"),
    "evaluate": ("evaluation", "train", "training"),
}
"""What a stage is called in words, whose shards it may not read, and what these are called."""


def _check(facts: Facts) -> Iterator[Finding]:
    asked = [seen for seen in stages(facts) if seen.stage in _KEPT_FROM]
    findings = [finding for seen in asked for finding in _walls(seen)]
    yield from findings
    if not findings:
        mechanisms = sorted({str(seen.isolation["mechanism"]) for seen in asked})
        yield passed(
            f"every calibration and evaluation ({len(asked)}) was enclosed by {', '.join(mechanisms)}: no network, no"
            " shards that are not its own"
        )


def _walls(seen: Seen) -> Iterator[Finding]:
    words, split, shards = _KEPT_FROM[seen.stage]
    walls, where = seen.isolation, f"seed {seen.seed}: the {words}"
    if walls["state"] != "enforced":
        reason = walls.get("reason") or walls["state"]
        yield unverifiable(f"{where} was not enclosed ({reason}): it could have read anything", file=ENVIRONMENT)
        return
    if walls.get("network") != "none":
        yield failed(f"{where} had a network", file=ENVIRONMENT)
    for path in walls.get("reads", ()):
        if path.rstrip("/").endswith(f"/{split}") or f"_{split}_" in path:
            yield failed(f"{where} was shown {shards} shards: {path}", file=ENVIRONMENT)


RULE = Rule(
    id="isolation",
    why="What a stage can reach, it may have read: an evaluation training text, the network or another run's answers, a"
    " calibration the text that is scored later.",
    source="README: no network and no training data during evaluation, no validation data before it (rules 1.4; C8,"
    " #728); fairway: environment.json",
    scope="record",
    check=_check,
    category="integrity",
    fix="Install bubblewrap (or allow user namespaces) and run calibration and evaluation again.",
)
