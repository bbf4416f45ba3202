"""The runs were made on the machine that the budgets are meant for."""

from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, failed, passed, review, unverifiable
from fairway.verify.logs.asked import at, seeds
from fairway.verify.logs.facts import LogFacts
from fairway.verify.submission import Submission
from fairway.verify.tracks import Hardware

_OTHER_FORMS = ("PCIe", "NVL")


def _check(submission: Submission) -> Iterator[Finding]:
    wanted = submission.track.hardware
    for log in seeds(submission):
        if wanted is None:
            yield passed("the track asks for no machine", file=log.file)
        else:
            yield _judged(wanted, log)


def _judged(wanted: Hardware, log: LogFacts) -> Finding:
    machine = f"{wanted.world} x {wanted.device}"
    others = sorted(name for name in log.gpus if wanted.device not in name)
    listed = ", ".join(f"{count} x {name}" for name, count in log.gpus.items())
    if others:
        return failed(f"ran on {listed}, the budgets are for {machine}", **at(log, "gpus"))
    if log.world_size is not None and log.world_size != wanted.world:
        message = f"ran on {log.world_size} ranks, the budgets are for {machine}"
        return failed(f"{message} (devices listed: {listed or 'none'})", **at(log, "world_size"))
    if any(form in name for name in log.gpus for form in _OTHER_FORMS):
        return review(f"ran on {listed}, the rules say SXM", **at(log, "gpus"))
    if log.gpus:
        return passed(f"ran on {listed}", **at(log, "gpus"))
    if log.world_size is not None:
        return unverifiable(f"ran on {log.world_size} ranks; the log lists no devices", **at(log, "world_size"))
    return unverifiable("the log tells neither devices nor ranks", file=log.file)


RULE = Rule(
    id="log-hardware",
    why="Ten minutes are ten minutes of one machine; on another the number of steps is another.",
    source="openai/parameter-golf README: 8xH100, the SXM variant",
    scope="submission",
    check=_check,
    category="time",
    fix="Run on the track's machine and let the log print nvidia-smi and the world size; else use the other track.",
    cases=(1114,),
)
