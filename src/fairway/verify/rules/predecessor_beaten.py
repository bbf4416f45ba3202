"""A record is better than the best before it, by margin and p-value, in every unit that is in use."""

import math
from collections.abc import Iterator

from fairway.verify import statistics
from fairway.verify.claims.headline import Headline
from fairway.verify.claims.predecessor import Comparison, by_order, p_of_gain, runs_needed
from fairway.verify.claims.sums import claims_to_be_best, compared, order_ambiguous, place_of
from fairway.verify.claims.tell import at, number
from fairway.verify.claims.verdicts import meant
from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.leaderboard import Accepted
from fairway.verify.submission import Submission
from fairway.verify.tracks import GainTest


def _check(submission: Submission) -> Iterator[Finding]:
    track, chain = submission.track, submission.leaderboard
    if not claims_to_be_best(submission):
        yield passed(f"track {track.name}: the folder makes no claim to beat another, so nothing is tested")
        return
    if chain is None:
        raise NoEvidence(f"there is no leaderboard of track {track.name} to compare with")
    scores = meant(submission)
    if not scores.scores:
        raise NoEvidence("no log gives a score to compare")
    found = compared(submission)
    if found is None:
        yield passed(f"nothing on the leaderboard of track {track.name} stood before it")
        return
    best = found.predecessor
    place = {**at(submission, "val_bpb"), "source": f"{chain.file}:{best.line}"}
    ambiguous = order_ambiguous(submission)
    yield passed(_margins(scores, found), profile="both", **place)
    for test in track.gain_tests:
        yield _tested(test, scores, best, ambiguous=ambiguous, place=place)
    if ambiguous:
        before = by_order(chain, track.name, place_of(submission))
        told = ", ".join(
            f"by {order} {number(row.val_bpb)} of {row.title or row.record}" for order, row in before.items()
        )
        yield review(f"which record stood before it depends on the order, and with it the answer: {told}", **place)


def _margins(scores: Headline, found: Comparison) -> str:
    """The gain in each unit, with what five thousandths of a nat are in it."""
    best = found.predecessor
    name = best.title or best.record
    told = [
        f"{found.gain_bpb:+.5f} bits per byte",
        f"{found.gain_nats_per_byte:+.5f} nats per byte",
        "nats per token unknown" if found.gain_nats is None else f"{found.gain_nats:+.5f} nats per token",
    ]
    pr = "" if best.pr is None else f" (#{best.pr})"
    means = f"mean of {found.runs} runs {scores.mean_bpb:.8f}, {name}{pr} has {number(best.val_bpb)}"
    return f"{means}: {', '.join(told)}"


def _tested(test: GainTest, scores: Headline, best: Accepted, *, ambiguous: bool, place: dict[str, object]) -> Finding:
    scale = {
        "nats_per_token": scores.nats_per_bit,
        "nats_per_byte": math.log(2.0),
        "bits_per_byte": 1.0,
    }[test.unit]
    unit = test.unit.replace("_", " ")
    if scale is None:
        raise NoEvidence("no log gives a loss in nats per token")
    new = [bpb * scale for bpb in scores.bpb]
    old = [score.val_bpb * scale for score in best.scores]
    gain = (float(best.val_bpb) - statistics.mean(scores.bpb)) * scale
    needed = ""
    if len(new) < 2:
        message = f"{gain:+.6f} {unit} with one run, above {test.margin:g} is asked for: one run shows no scatter"
        short = gain <= test.margin
        p = None
    else:
        spread = statistics.sample_std(new) or 0.0
        if len(old) > 1:
            result = statistics.welch(new, old, margin=test.margin)
            p, how = result.p, f"one-sided Welch test, t = {-result.t:.3f}, {result.degrees:.2f} degrees of freedom"
        else:
            p = p_of_gain(gain, spread, len(new), test.margin)
            how = f"one-sided test of {len(new)} runs against a score without runs"
        runs = runs_needed(gain, spread, test.margin, test.p_max)
        needed = f"; {runs} runs of this scatter would show it" if runs is not None and p >= test.p_max else ""
        asked = f"above {test.margin:g} at p < {test.p_max:g} is asked for"
        message = f"{gain:+.6f} {unit}, {asked}: p = {p:.4g} ({how}){needed}"
        short = gain <= test.margin
    if not short and p is not None and p < test.p_max:
        return passed(message, profile=test.profile, **{**place, "source": test.source})
    # Which record came before is for reviewers to settle; only the written rule fails by arithmetic alone.
    say = failed if test.profile == "strict" and (p is not None or short) and not ambiguous else review
    return say(message, profile=test.profile, **{**place, "source": test.source})


RULE = Rule(
    id="predecessor-beaten",
    why="Seeds scatter; a record is a gain that their scatter does not explain, over the best that stood before it.",
    source="openai/parameter-golf README: 0.005 nats at p < 0.01; audit of 2026-04-28 (#1902): Welch test, p < 0.25",
    scope="submission",
    check=_check,
    category="evidence_packaging",
    fix="Run more seeds, or say plainly that the gain is within noise; a change of systems alone is waived on the"
    " command line with its reason.",
    cases=(1148, 1518, 1557, 1584, 1587, 2019),
)
