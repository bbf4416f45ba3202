"""After training has ended no training file is read, and no calibration looks at validation tokens."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, review
from fairway.verify.submission import Submission
from fairway.verify.trace.ask import ask
from fairway.verify.trace.conduct import Course, scores
from fairway.verify.trace.events import Event, Trace

_SLACK_S = 0.2
"""What accepted logs run over by."""


def _check(submission: Submission) -> Iterator[Finding]:
    reserved = _within_budget(submission)
    fine = (
        "no model is run on training tokens after training without time kept back for it, nor on validation tokens "
        "whose losses are not added up"
    )
    yield from ask(submission, lambda course: _question(course, reserved), fine)


def _within_budget(submission: Submission) -> bool:
    """Whether every log says that training and calibration together kept the training time."""
    logs = list(submission.seed_logs.values())
    spent = [(log.train_s, log.calibration_s) for log in logs]
    budget = submission.track.train.budget_s
    return bool(spent) and all(
        train is not None and calibration is not None and train + calibration <= budget + _SLACK_S
        for train, calibration in spent
    )


def _question(course: Course, reserved: bool) -> Iterator[Finding]:
    trace = course.trace
    trained = [event for event in trace.of("backward") if "train" in event.data]
    if not trained:
        return
    over = max(_end(event) for event in trained)
    told: set[str] = set()
    for event in trace.of("forward"):
        if event.at < over or not event.block.loops():
            continue
        if "train" in event.data and not trace.reserves and not reserved and "train" not in told:
            told.add("train")
            yield review(
                "a model is run on training tokens after the training loop, and nothing is kept back for it from the "
                "time that the loop may take: look whether both together fit the training budget",
                file=event.file,
                line=event.line,
            )
        if "val" in event.data and event.unused and "val" not in told and _unscored(trace, event):
            told.add("val")
            yield review(
                "a model is run on validation tokens whose losses are not added up, before the weights are packed "
                "(calibration): look what is taken from them",
                file=event.file,
                line=event.line,
            )


def _end(event: Event) -> int:
    loops = event.block.loops()
    return max([event.at, *(loop.closed for loop in loops)])


def _unscored(trace: Trace, event: Event) -> bool:
    """Whether nothing in the loops around is scored or learnt, and something is packed afterwards."""
    loop = event.block.loops()[-1]
    if any(other.within(loop) for other in [*scores(trace), *trace.of("backward", "score")]):
        return False
    return any(write.at > event.at for write in trace.of("write"))


RULE = Rule(
    id="calibration-in-eval",
    why="Reading training data after the training time is more training; calibrating on validation data leaks it.",
    source="rulings on #593 and #609 (calibration lies inside the training time), #728 (validation data); condition C8",
    scope="submission",
    check=_check,
    category="calibration_in_eval",
    fix="Stop training early enough for the calibration to fit, or calibrate on text that the model wrote itself.",
    cases=(544, 545, 585, 593, 609, 615, 639, 674, 728),
)
