"""The seconds that a stage says it took are those that passed for a watcher outside, start-up aside."""

from collections.abc import Iterator

from fairway.verify.facts import ENVIRONMENT, Facts
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.outside import stages

_START_S = 30.0
"""Starting Python, importing torch and reading a card's state lie before a log's first line."""
_SLACK_SHARE = 0.05
_ROUNDING_S = 0.5


def _check(facts: Facts) -> Iterator[Finding]:
    most, well = 0.0, True
    for seen in stages(facts):
        done = facts.seeds[seen.seed].only(seen.stage, "done")
        inside, outside = done.t_s, seen.seconds
        most = max(most, outside - inside)
        where = f"seed {seen.seed}, {seen.stage}: {inside:.1f} s by its own log, {outside:.1f} s by the clock outside"
        if inside > outside + _ROUNDING_S:
            well = False
            yield failed(f"{where}: a part cannot take longer than the whole", file=done.file, line=done.line)
        elif outside > inside * (1 + _SLACK_SHARE) + _START_S:
            well = False
            yield review(f"{where}: what happened in between?", file=done.file, line=done.line)
        if seen.exit_status:
            well = False
            yield failed(f"seed {seen.seed}, {seen.stage}: ended with status {seen.exit_status}", file=ENVIRONMENT)
    if well:
        yield passed(f"no stage took {most:.1f} s more by the clock outside than by its own log")


RULE = Rule(
    id="outside-clock",
    why="A program that times itself can leave out what it likes.",
    source="README: 10 minutes of training, 10 of evaluation (rules 1.3); fairway: environment.json",
    scope="record",
    check=_check,
    category="time",
)
