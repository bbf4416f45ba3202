"""Seconds of the final evaluation, as timed and with loading and compiling, against the track's budget."""

from collections.abc import Iterator, Mapping

from fairway.verify.facts import Event, Facts, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed, review

CLOCK_SLACK_S = 5.0
CLOCK_SLACK_SHARE = 0.05
"""The log's own clock also sees what lies between the passes; beyond this a person looks at what was timed."""


def seconds(seed: SeedFacts) -> tuple[Mapping[str, float], Event]:
    """Seconds of each part of the final evaluation, and the event that states its score."""
    score, load = seed.only("evaluate", "score", name="final"), seed.only("evaluate", "load")
    parts = {"score": score.number("seconds"), "load": load.number("seconds"), "compile": score.number("compile_s")}
    return parts, score


def _check(facts: Facts) -> Iterator[Finding]:
    def one(seed: SeedFacts) -> Iterator[Finding]:
        parts, score = seconds(seed)
        for limit in facts.track.eval.limits:
            total = sum(parts[name] for name in limit.counts)
            terms = " + ".join(f"{name} {parts[name]:.3f}" for name in limit.counts)
            message = f"seed {seed.seed}: {terms} = {total:.3f} s, the limit is {limit.limit_s:g} s"
            say = passed if total <= limit.limit_s else failed if limit.above == "FAIL" else review
            yield say(message, profile=limit.profile, file=score.file, line=score.line, source=limit.source)
        yield from _clock(seed, score, parts)

    yield from each_seed(facts, one)


def _clock(seed: SeedFacts, score: Event, parts: Mapping[str, float]) -> Iterator[Finding]:
    """The seconds of the final score beside the log's clock, from the diagnostic pass before it."""
    before = seed.only("evaluate", "score", name="quantized")
    passed_s, counted_s = score.t_s - before.t_s, parts["score"] + parts["compile"]
    if passed_s > counted_s * (1 + CLOCK_SLACK_SHARE) + CLOCK_SLACK_S:
        yield review(
            f"seed {seed.seed}: {passed_s:.1f} s went by before the final score, {counted_s:.1f} s were counted",
            file=score.file,
            line=score.line,
        )


RULE = Rule(
    id="eval-budget",
    why="The score counts for what is reached within the evaluation's seconds.",
    source="README: 10 minutes of evaluation, in addition to training (rules 1.3)",
    scope="seed",
    check=_check,
)
