"""What the order of events means: learning before scoring, scoring again, calibration after training.

The conditions are C1, C3, C4 and C8 of the challenge: a target is scored with a state that has not seen it, once, and
what was trained stays as it is once training is over. Nothing here convicts: a program's text says what may happen.
"""

from dataclasses import dataclass
from functools import lru_cache

from fairway.verify.programs.program import Program, Programs
from fairway.verify.submission import Submission
from fairway.verify.trace.events import Block, Event, Trace, common_loop, exclusive
from fairway.verify.trace.switches import Switches, switches
from fairway.verify.trace.walk import follow


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One program of a folder and what it does."""

    program: Program
    trace: Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Learning:
    """A place where something learns from validation tokens."""

    event: Event
    own: frozenset[int]
    """What learns."""
    leaf: bool
    """Whether that are tensors made for the occasion, and no weights."""
    scored: Event | None
    """Where the same chunk was scored before, None where it was not."""
    epochs: Block | None
    """Loop that shows it the same tokens again."""


def courses(submission: Submission) -> tuple[Course, ...]:
    """What runs, followed with the settings of the run; other scripts only where what runs cannot be seen."""
    programs = submission.programs
    settings = switches(submission)
    found = [_course(program, programs, settings) for program in _runnable(programs)]
    seen = [course for course in found if course.trace.events]
    return tuple(seen[:1] if programs.main is not None and seen and seen[0].program is programs.main else seen)


def helper_courses(submission: Submission) -> tuple[Course, ...]:
    """Programs beside the one that runs which name validation shards and compress something, followed by themselves."""
    programs = submission.programs
    found = [p for p in programs.helpers if p.tree is not None and p.file not in programs.reached]
    telling = [p for p in found if "val" in p.text and "compress" in p.text and ".backward(" not in p.text]
    return tuple(_course(program, programs, Switches()) for program in telling)


def _runnable(programs: Programs) -> list[Program]:
    main = [programs.main] if programs.main is not None else []
    return [program for program in [*main, *programs.helpers] if program.tree is not None]


def _course(program: Program, programs: Programs, settings: Switches) -> Course:
    others = tuple((p.file, p.tree) for p in programs.helpers if p.tree is not None and p is not program)
    return Course(program=program, trace=_followed(program.file, program.tree, others, settings))


@lru_cache(maxsize=8)
def _followed(file: str, tree: object, others: tuple[tuple[str, object], ...], settings: Switches) -> Trace:
    return follow(file, tree, dict(others), settings)  # type: ignore[arg-type]


def scores(trace: Trace) -> list[Event]:
    """Where losses of validation tokens are added up beside the bytes of the same tokens."""
    bytes_ = trace.of("bytes")
    return [event for event in trace.of("score") if any(_beside(event, other) for other in bytes_)]


def _beside(score: Event, count: Event) -> bool:
    if score.block.frame() is not count.block.frame():
        return False
    here, there = score.block.loops(), count.block.loops()
    if (here[0] if here else None) is (there[0] if there else None):
        return True
    return "val" in count.data and (score.within(count.block) or count.within(score.block))


def learnings(trace: Trace) -> list[Learning]:
    """Every place at which something learns from validation tokens, with what moves there."""
    found: list[Learning] = []
    scored = scores(trace)
    for event in trace.of("backward"):
        if "val" not in event.data:
            continue
        own, leaf = _moved(trace, event)
        before = [s for s in scored if s.at < event.at and _same_chunk(s, event)]
        found.append(
            Learning(event=event, own=own, leaf=leaf, scored=before[-1] if before else None, epochs=repeats(event))
        )
    return found


def _moved(trace: Trace, event: Event) -> tuple[frozenset[int], bool]:
    """What the optimizer step after a gradient moves."""
    for step in trace.of("step"):
        if step.at > event.at and (step.block is event.block or step.within(event.block) or event.within(step.block)):
            return step.own, step.leaf
    return event.own, event.leaf


def _same_chunk(score: Event, event: Event) -> bool:
    """Whether a score and a gradient stand in one loop over chunks, so that the score comes first in each turn."""
    around = {id(block) for block in score.block.loops()}
    shared = [block for block in event.block.loops() if id(block) in around]
    return any(not loop.steady or loop.number in event.turns for loop in shared) and not only_last(score, event)


def only_last(score: Event, event: Event) -> bool:
    """Whether a score is added up only in the last turn of a loop in which the gradient runs in every turn."""
    turns = {block.last for block in score.block.above() if block.last is not None}
    return any(loop.number in turns for loop in event.block.loops())


def repeats(event: Event) -> Block | None:
    """The innermost counted loop around an event whose turns do not change which tokens it sees."""
    for loop in event.block.loops():
        if loop.counted and loop.number not in event.turns:
            return loop
    return None


def inside(loop: Block, score: Event, event: Event) -> bool:
    """Whether score and gradient share a loop over chunks inside a loop of epochs."""
    shared = common_loop(score, event)
    return shared is not None and shared is not loop and any(block is loop for block in shared.above())


def reaches(trace: Trace, learned: Event, own: frozenset[int], score: Event) -> bool:
    """Whether a score is made with what learned: the thing itself, or a model that got its state."""
    if score.at <= learned.at or exclusive(learned, score):
        return False
    for restore in trace.of("restore"):
        if learned.at < restore.at < score.at and restore.own & own and 0 < restore.born < learned.at:
            own = own - restore.own
    used = set(score.own)
    for model, sources, at in reversed(trace.derived):
        if model in used and at < score.at:
            used |= sources if at > learned.at else frozenset()
    return bool(own & used)


def packed(trace: Trace, learning: Learning) -> Event | None:
    """Where what learned is written to a file afterwards."""
    for write in trace.of("write"):
        if write.at > learning.event.at and not exclusive(learning.event, write):
            sources = set(write.own)
            for model, given, _at in trace.derived:
                if model in sources:
                    sources |= given
            if sources & learning.own:
                return write
    return None


def survives(trace: Trace, learning: Learning) -> bool:
    """Whether what learned is used later: to score, or at all once the loops around are over. A warm-up's is not."""
    event = learning.event
    frame = event.block.frame()
    loops = [loop for loop in event.block.loops() if loop.within_frame(frame)]
    closed = loops[-1].closed if loops else event.at
    named_later = any(trace.last_use.get(number, 0) > closed for number in learning.own)
    return not learning.own or named_later or any(reaches(trace, event, learning.own, s) for s in scores(trace))


def text_of(block: Block | None) -> str:
    """How a loop reads."""
    return "" if block is None else f"for {block.name}" if block.steady else block.name
