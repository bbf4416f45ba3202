"""Seconds in which training data shaped the model, against the track's budget and on the track's hardware."""

from collections.abc import Iterator, Mapping

from fairway.verify.facts import Event, Facts, SeedFacts
from fairway.verify.finding import Finding, Rule, each_seed, failed, passed, review
from fairway.verify.tracks import TimeLimit

CLOCK_SLACK_S = 5.0
CLOCK_SLACK_SHARE = 0.05
"""The log's own clock also sees what lies between the steps; beyond this a person looks at the training clock."""


def seconds(seed: SeedFacts) -> tuple[Mapping[str, float], Event]:
    """Seconds of each part of training, and the event that ends it.

    The training clock at the end of the loop, what the clock says was added by the end of training or the replay
    claims for itself, whichever is more, and all of calibration.
    """
    stop, done = seed.only("train", "stop"), seed.only("train", "done")
    loop = stop.number("train_s")
    replayed = sum(event.number("seconds") for event in seed.of("train", "replay"))
    return {
        "loop": loop,
        "replay": max(done.number("train_s") - loop, replayed),
        "calibrate": seed.only("calibrate", "done").number("seconds"),
    }, done


def _check(facts: Facts) -> Iterator[Finding]:
    def one(seed: SeedFacts) -> Iterator[Finding]:
        parts, done = seconds(seed)
        for limit in facts.track.train.limits:
            yield _judged(seed, limit, parts, done)
        yield from _clock(seed)
        yield from _hardware(facts, seed)

    yield from each_seed(facts, one)


def _judged(seed: SeedFacts, limit: TimeLimit, parts: Mapping[str, float], place: Event) -> Finding:
    total = sum(parts[name] for name in limit.counts)
    terms = " + ".join(f"{name} {parts[name]:.3f}" for name in limit.counts)
    message = f"seed {seed.seed}: {terms} = {total:.3f} s, the limit is {limit.limit_s:g} s"
    say = passed if total <= limit.limit_s else failed if limit.above == "FAIL" else review
    return say(message, profile=limit.profile, file=place.file, line=place.line, source=limit.source)


def _clock(seed: SeedFacts) -> Iterator[Finding]:
    """The training clock of the loop beside the log's clock, from the end of the warm-up to the end of the loop."""
    stop = seed.only("train", "stop")
    begin = (seed.of("train", "warmup") or (seed.only("train", "start"),))[-1]
    passed_s, counted_s = stop.t_s - begin.t_s, stop.number("train_s")
    if passed_s > counted_s * (1 + CLOCK_SLACK_SHARE) + CLOCK_SLACK_S:
        yield review(
            f"seed {seed.seed}: {passed_s:.1f} s went by in the loop, the training clock counted {counted_s:.1f} s",
            file=stop.file,
            line=stop.line,
        )


def _hardware(facts: Facts, seed: SeedFacts) -> Iterator[Finding]:
    hardware = facts.track.hardware
    if hardware is None:
        return
    environment = seed.only("train", "environment")
    device, world = environment.text("device"), environment.count("world")
    if hardware.device not in device or world != hardware.world:
        yield failed(
            f"seed {seed.seed}: trained on {world} x {device}, the budget is for {hardware.world} x {hardware.device}",
            file=environment.file,
            line=environment.line,
            source=hardware.source,
        )


RULE = Rule(
    id="train-budget",
    why="Whatever uses training data to change the model is training, calibration and replay included.",
    source="README: 10 minutes of training (rules 1.2)",
    scope="seed",
    check=_check,
)
