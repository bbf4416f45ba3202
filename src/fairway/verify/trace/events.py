"""What a program does in order, as far as its text shows it: loops, calls, and what matters inside them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["backward", "step", "build", "score", "bytes", "forward", "restore", "zeroed", "write", "pack"]
"""``backward``: a gradient of a loss; ``step``: an optimizer moves; ``build``: counts are added to a table; ``score``:
a loss is added up; ``bytes``: bytes are added up; ``forward``: a model is run; ``restore``: a model gets a state back;
``zeroed``: losses are multiplied by where tokens match; ``write``: something goes to a file; ``pack``: something is
compressed."""


@dataclass(slots=True, kw_only=True)
class Block:
    """The program, a loop of it, or a call in it."""

    kind: Literal["program", "loop", "call", "branch"]
    file: str
    line: int
    name: str = ""
    """Function of a call; text of what a loop runs over."""
    number: int = 0
    parent: "Block | None" = None
    steady: bool = False
    """A ``for`` over a range or a sequence, whose turns its variable tells apart."""
    counted: bool = False
    """A ``for`` over a range of numbers, which epochs are."""
    arm: int = 0
    """Which side of a branch; both sides have its number."""
    last: int | None = None
    """Loop in whose last turn alone a branch runs."""
    closed: int = 0
    """Clock at which it was left."""

    def above(self) -> Iterator["Block"]:
        """The block itself and those around it, innermost first."""
        block: Block | None = self
        while block is not None:
            yield block
            block = block.parent

    def loops(self) -> list["Block"]:
        """The loops around, innermost first, this one included."""
        return [block for block in self.above() if block.kind == "loop"]

    def within_frame(self, frame: "Block") -> bool:
        """Whether it stands in a call and in no call of that call."""
        return self.frame() is frame

    def frame(self) -> "Block":
        """The call, or the program, that it stands in."""
        return next(block for block in self.above() if block.kind in ("call", "program"))


@dataclass(slots=True, kw_only=True)
class Event:
    """One thing that the program does."""

    kind: Kind
    at: int
    """Clock."""
    file: str
    line: int
    block: Block
    data: frozenset[str]
    own: frozenset[int] = frozenset()
    """What it changes; for a score, what the loss was computed with."""
    turns: frozenset[int] = frozenset()
    picked: int | None = None
    born: int = 0
    leaf: bool = False
    """For a step or a gradient: whether it is of tensors that were made for the occasion, and no model."""
    name: str = ""
    unused: bool = False
    """For a model that is run: whether its result is thrown away."""

    def within(self, block: Block) -> bool:
        """Whether it stands in a block."""
        return any(above is block for above in self.block.above())


@dataclass(slots=True, kw_only=True)
class Trace:
    """Everything that was seen of one program."""

    events: list[Event] = field(default_factory=list)
    last_use: dict[int, int] = field(default_factory=dict)
    """Made thing to the clock at which the program last named it."""
    derived: list[tuple[int, frozenset[int], int]] = field(default_factory=list)
    """Model, what its state was taken from, clock."""
    reserves: list[tuple[str, int]] = field(default_factory=list)
    """File and line on which something is taken off the time that training may take."""
    off: list[tuple[str, int, str]] = field(default_factory=list)
    """File, line and condition of what does not run by its defaults and by the logs."""
    gave_up: str = ""
    """Why the rest was not followed; empty where everything was."""

    def of(self, *kinds: str) -> list[Event]:
        """The events of some kinds, in order."""
        return [event for event in self.events if event.kind in kinds]


def common_loop(one: Event, other: Event) -> Block | None:
    """The innermost loop that both stand in."""
    around = {id(block) for block in other.block.loops()}
    return next((block for block in one.block.loops() if id(block) in around), None)


def exclusive(one: Event, other: Event) -> bool:
    """Whether two events stand on different sides of one branch."""
    arms = {block.number: block.arm for block in one.block.above() if block.kind == "branch"}
    return any(b.kind == "branch" and arms.get(b.number, b.arm) != b.arm for b in other.block.above())
