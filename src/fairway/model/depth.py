"""Which layer runs when: loops, the encoder and decoder halves, lanes (pure)."""

from typing import NamedTuple

from fairway.spec.model import Loops, ModelSpec, TwoLanes


class Depth(NamedTuple):
    """Layers in the order they run; encoder slots push a skip each, decoder slots pop the newest."""

    encoder: tuple[int, ...]
    decoder: tuple[int, ...]

    @property
    def slots(self) -> tuple[int, ...]:
        """Layer of each slot, both halves."""
        return self.encoder + self.decoder

    @property
    def skips(self) -> int:
        """Skips that are popped: decoder slot ``j`` below this uses row ``j`` of the skip tables."""
        return min(len(self.encoder), len(self.decoder))


def schedule(spec: ModelSpec, looped: bool) -> Depth:
    """Every layer once, or the looped stretch ``1 + extra`` times, cut in half (#1394; lists in recipes B.5).

    Without loops in the spec, ``looped`` changes nothing.
    """
    order = list(range(spec.layers))
    if looped and isinstance(spec.loops, Loops):
        first, last = spec.loops.first, spec.loops.last
        order[last + 1 : last + 1] = list(range(first, last + 1)) * spec.loops.extra
    half = len(order) // 2
    return Depth(encoder=tuple(order[:half]), decoder=tuple(order[half:]))


def skip_slots(spec: ModelSpec) -> int:
    """Rows of the skip tables: the most skips of either schedule."""
    return max(schedule(spec, looped).skips for looped in (False, True))


def lanes_from(spec: ModelSpec, depth: Depth) -> int:
    """The first decoder slot that runs on two lanes; ``len(depth.decoder)`` if none does.

    The encoder is always one stream (#1530). Once split, lanes stay apart to the end, so a slot below
    ``lanes.start`` that a loop brings back keeps all before it on one stream.
    """
    if not isinstance(spec.lanes, TwoLanes):
        return len(depth.decoder)
    below = [slot for slot, layer in enumerate(depth.decoder) if layer < spec.lanes.start]
    return below[-1] + 1 if below else 0
