"""Training as the logs time it, loop and calibration, against every limit of the track."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.logs.asked import at, trained
from fairway.verify.logs.facts import LogFacts
from fairway.verify.submission import Submission
from fairway.verify.tracks import TimeLimit


def _check(submission: Submission) -> Iterator[Finding]:
    for log in trained(submission):
        lost: set[str] = set()
        for limit in sorted(submission.track.train.limits, key=lambda limit: limit.above):
            found = _judged(log, limit)
            if found.verdict == "PASS" or limit.profile not in lost:
                yield found
            lost |= {limit.profile} if found.verdict == "FAIL" else set()


def _judged(log: LogFacts, limit: TimeLimit) -> Finding:
    parts = {"loop": log.train_s or 0.0}
    if "calibrate" in limit.counts and log.calibration_s is not None:
        parts["calibrate"] = log.calibration_s
    total = sum(parts.values())
    terms = " + ".join(f"{name} {spent:.3f}" for name, spent in parts.items())
    message = f"{terms} = {total:.3f} s, the limit is {limit.limit_s:g} s"
    if log.step_ms is not None and parts["loop"] > limit.limit_s:
        message += f"; the loop is {(parts['loop'] - limit.limit_s) * 1000.0 / log.step_ms:.2f} steps over"
    where = at(log, "calibration_s" if "calibrate" in parts else "train_s")
    own = log.calibrates_on_itself and parts["loop"] <= limit.limit_s
    if total <= limit.limit_s:
        say = passed
    elif limit.above == "REVIEW" or own:
        say = review
        if own:
            message += "; calibration ran on text of the model's own, so no training data was read"
    else:
        say = failed
    return say(message, profile=limit.profile, source=limit.source, **where)


RULE = Rule(
    id="train-time",
    why="Whatever uses training data to change the model is training; beyond the budget a score compares with nothing.",
    source="openai/parameter-golf README: 10 minutes on 8xH100; calibration counts (rulings on #593, #609)",
    scope="submission",
    check=_check,
    category="time",
    fix="Reserve the seconds of calibration inside the budget (GPTQ_RESERVE_SECONDS), and stop one step early.",
    cases=(593, 609, 1908, 1934),
)
