"""A record is better than the one before it, by the track's margin and p-value."""

import math
from collections.abc import Iterator, Sequence

from fairway.verify.facts import SUBMISSION, Facts, NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed
from fairway.verify.leaderboard import Accepted
from fairway.verify.statistics import welch
from fairway.verify.tracks import GainTest


def _check(facts: Facts) -> Iterator[Finding]:
    track = facts.track
    if not track.gain_tests:
        yield passed(f"track {track.name} makes no claim to be the best, so nothing is tested")
        return
    if facts.leaderboard is None:
        raise NoEvidence("there is no leaderboard.jsonl to compare with")
    named = facts.need_submission().get("predecessor")
    if named is not None and facts.leaderboard.find(track.name, str(named)) is None:
        yield failed(f"predecessor {named!r} is no record of track {track.name}", file=SUBMISSION)
    best = facts.leaderboard.best_before(track.name, facts.folder)
    if best is None:
        yield passed(f"the first record of track {track.name}: there is no predecessor to beat")
        return
    if named is None and track.claim == "named":
        yield passed(f"names no predecessor, so makes no claim to beat {best.record}, the best of track {track.name}")
        return
    if named is not None and named != best.record:
        yield failed(
            f"predecessor is {named!r}, the best record of track {track.name} is {best.record!r}", file=SUBMISSION
        )
    scores = [seed.only("evaluate", "score", name="final") for seed in facts.seeds.values()]
    new = [(score.number("val_bpb"), score.number("val_loss")) for score in scores]
    old = [(result.val_bpb, result.val_loss) for result in best.scores]
    for test in track.gain_tests:
        yield _tested(test, best, new, old)


def _tested(
    test: GainTest, best: Accepted, new: Sequence[tuple[float, float]], old: Sequence[tuple[float, float]]
) -> Finding:
    try:
        result = welch(_in(test, new), _in(test, old), margin=test.margin)
    except ValueError as error:
        raise NoEvidence(f"against {best.record}: {error}") from error
    unit = test.unit.replace("_", " ")
    message = (
        f"against {best.record}: {result.gain:+.6f} {unit} better, one-sided Welch test of a gain of"
        f" {test.margin:g}: t = {result.t:.3f}, {result.degrees:.2f} degrees of freedom, p = {result.p:.4g}"
        f" (must be below {test.p_max:g})"
    )
    say = passed if result.gain > test.margin and result.p < test.p_max else failed
    return say(message, profile=test.profile, file=SUBMISSION, source=test.source)


def _in(test: GainTest, scores: Sequence[tuple[float, float]]) -> list[float]:
    if test.unit == "nats_per_token":
        return [loss for _, loss in scores]
    if test.unit == "nats_per_byte":
        return [bpb * math.log(2.0) for bpb, _ in scores]
    return [bpb for bpb, _ in scores]


RULE = Rule(
    id="significance",
    why="Seeds scatter; a record is a gain that their scatter does not explain.",
    source="README: 0.005 nats at p < 0.01; #1902: one-sided Welch test (rules 1.7)",
    scope="record",
    check=_check,
)
