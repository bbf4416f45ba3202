"""The evaluation whose score is claimed, as the logs time it, against every limit of the track."""

from collections.abc import Iterator

from fairway.verify.facts import NoEvidence
from fairway.verify.finding import Finding, Rule, failed, passed, review
from fairway.verify.logs.asked import at, claimed_line, evaluated, seconds_of
from fairway.verify.logs.facts import LogFacts
from fairway.verify.submission import Submission

_PARTS = {"load": "decompress_s", "compile": "ttt_warmup_s"}


def _check(submission: Submission) -> Iterator[Finding]:
    found = [finding for log in evaluated(submission) for finding in _log(submission, log)]
    if not found:
        raise NoEvidence("no log tells how long its evaluation took")
    yield from found


def _log(submission: Submission, log: LogFacts) -> Iterator[Finding]:
    line = claimed_line(submission, log)
    scored = seconds_of(log, line)
    if scored is None:
        return
    where = {"file": log.file, "line": line.line if line is not None else log.lines.get("final_val_bpb")}
    if scored <= 0.0:
        yield review("the evaluation is said to have taken 0 s, which is a placeholder", **where)
        return
    base = {"score": scored}
    if log.precompute_s is not None:
        base["before the score"] = log.precompute_s
    lost: set[str] = set()
    for limit in sorted(submission.track.eval.limits, key=lambda limit: limit.above):
        parts = dict(base)
        for name, fact in _PARTS.items():
            spent = getattr(log, fact)
            if name in limit.counts and spent is not None:
                parts[name] = spent
        total = sum(parts.values())
        terms = " + ".join(f"{name} {spent:.1f}" for name, spent in parts.items())
        message = f"{terms} = {total:.1f} s, the limit is {limit.limit_s:g} s"
        if total > limit.limit_s and limit.profile in lost:
            continue
        say = passed if total <= limit.limit_s else failed if limit.above == "FAIL" else review
        lost |= {limit.profile} if say is failed else set()
        yield say(message, profile=limit.profile, source=limit.source, **where)
    budget_s = submission.track.eval.budget_s
    if log.process_s is not None and log.train_s is None and log.process_s > budget_s:
        yield review(
            f"the process of the evaluation took {log.process_s:.1f} s by the shell's clock, {scored:.1f} s by its own",
            **at(log, "process_s"),
        )
    if log.eval_sum_s is not None and log.eval_sum_s > budget_s >= scored:
        yield review(
            f"all evaluations of the log together took {log.eval_sum_s:.1f} s; whether all but one are diagnostics "
            "must be read in the program",
            **where,
        )


RULE = Rule(
    id="eval-time",
    why="An evaluation may take as long as training and no longer, whatever it adapts or builds on the way.",
    source="openai/parameter-golf README: not more than 10 minutes on 8xH100, in addition to training",
    scope="submission",
    check=_check,
    category="time",
    fix="Time everything that reads validation tokens, and bring it below the budget on the track's hardware.",
    cases=(1114, 1557, 1972, 2121),
)
