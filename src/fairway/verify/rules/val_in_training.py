"""No validation token is trained on, nor carried in the artifact."""

import re
from collections.abc import Iterator

from fairway.verify.finding import Finding, Rule, review
from fairway.verify.submission import Submission
from fairway.verify.trace.ask import ask
from fairway.verify.trace.conduct import Course, helper_courses, learnings

_WORDS = re.compile(
    r"\bval(idation)?[\s_-]?only\b|\btrain(s|ed|ing)?\s+((entirely|only|directly|purely|solely)\s+)?on\s+(the\s+)?(\w+\s+)?"
    r"val(idation)?\s+(shards?|set|split|data|tokens?)\b|\bpaid[\s_-]prefix\b",
    re.IGNORECASE,
)
_FOLDER = re.compile(r"(^|[/_\-])val(id|idation)?[_-]?only", re.IGNORECASE)


def _check(submission: Submission) -> Iterator[Finding]:
    found = [*_prefix_builders(submission), *_named_data(submission)]
    yield from found
    fine = "training reads training shards alone, and no loss is taken away where tokens match something that was read"
    for finding in ask(submission, _question, fine, _WORDS):
        if not found or finding.verdict == "REVIEW":
            yield finding


def _question(course: Course) -> Iterator[Finding]:
    trace = course.trace
    learned = trace.of("backward")
    trained = [event for event in learned if "train" in event.data]
    mixed = [event for event in learned if {"train", "val"} <= event.data]
    unscored = [learning.event for learning in learnings(trace) if learning.scored is None and not learning.leaf]
    for event in mixed or ([] if trained else unscored):
        yield review(
            "the loss that training takes gradients of reads validation tokens: look which files its loader opens",
            file=event.file,
            line=event.line,
        )
        break
    for event in trace.of("zeroed"):
        yield review(
            "losses are multiplied away where validation tokens equal tokens that were read from elsewhere: look where "
            "those come from, and whether the artifact carries the answers",
            file=event.file,
            line=event.line,
        )
        break


def _prefix_builders(submission: Submission) -> Iterator[Finding]:
    """Programs that read validation shards and write them packed."""
    for course in helper_courses(submission):
        packs = [event for event in course.trace.of("pack") if {"val", "blob"} <= event.data]
        if packs and course.trace.of("write"):
            yield review(
                "a program beside the main one reads validation shards and compresses them: look whether the artifact "
                "carries validation tokens",
                file=packs[0].file,
                line=packs[0].line,
            )


def _named_data(submission: Submission) -> Iterator[Finding]:
    """Training data whose folder is named after the validation set."""
    for log in submission.seed_logs.values():
        for name, value in log.settings.items():
            if name.lower() in ("data_path", "train_files", "data_dir", "train_data", "dataset") and _FOLDER.search(
                value
            ):
                yield review(
                    f"the log trains on {value!r}: look whether its training shards are the validation set",
                    file=log.file,
                    line=log.lines.get(name),
                )
                return


RULE = Rule(
    id="val-in-training",
    why="Validation tokens that training or the artifact holds make the score a matter of memory.",
    source="README, FAQ (no access to validation data in training, no paid prefix; 2026-03-20); conditions C7 and C8",
    scope="submission",
    check=_check,
    category="val_in_training",
    fix="Train on training shards alone and ship nothing that was made from validation tokens.",
    cases=(44, 168, 262),
)
