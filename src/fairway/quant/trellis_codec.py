"""Range coding of symbols that are paths of a trellis: half of each symbol's parity-mates never need be told apart.

The state says whether the next symbol is even or odd, so what is coded is the symbol's half, rounded down, by the model
of its parity and of its class (``classes``). Both parities of a class are parts of their own, in the order in which
the paths go on all together: first row of every segment of every column, second row of every segment, and so on. So
all parts are decoded at once, and the paths then take from them what is theirs, row by row::

    u8 log2 of the states, u16 rows of a segment,
    u8 axis (0 columns, 1 rows), u8 classes                     or  u8 axis (2 both), u8 classes of rows, of columns
    u32 halves of each class and parity, even ones first, u32 bytes of each part,
    parts, each as codec ``range`` has it: classes of lines (as in ``classes``), then the halves
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from fairway.errors import GateError, MalformedError
from fairway.quant.artifact import StoredStream
from fairway.quant.classes import (
    CLASS_COUNTS,
    MOST_CLASSES,
    byte_tensor,
    line_classes,
    line_counts,
    pair_classes,
    payload_parts,
    read_lines,
    spread_lines,
    spread_pairs,
    stream_shapes,
)
from fairway.quant.codecs import decompress, range_encoded
from fairway.quant.packing import StoredTensor
from fairway.quant.plan import grid_of
from fairway.quant.trellis import trellis_checks
from fairway.spec.quant import TRELLIS_STATES, Grid, QuantileGrid, QuantSpec, TrellisGrid
from fairway.spec.roles import Role

_TRELLIS_BOTH = 2

_TrellisBytes = np.ndarray[Any, np.dtype[np.uint8]]
_TrellisPlaces = np.ndarray[Any, np.dtype[np.int64]]


def stream_grid(quant: QuantSpec, stream: str) -> Grid | QuantileGrid | TrellisGrid | None:
    """The grid of a stream's symbols; None for a stream that has no grid of a role."""
    return grid_of(Role(stream), quant) if stream in list(Role) else None


def trellis_stream(quant: QuantSpec, tensors: Sequence[StoredTensor], stream: str, raw: bytes) -> StoredStream:
    """A stream of symbols that all lie on paths."""
    grid = stream_grid(quant, stream)
    assert isinstance(grid, TrellisGrid), (stream, grid)
    shapes = stream_shapes(tensors, stream)
    payload = trellis_encoded(raw, shapes, grid.states, grid.segment, both=stream == Role.EMBEDDING.value)
    return StoredStream(stream, "trellis", payload, len(raw))


def trellis_encoded(
    raw: bytes, shapes: Sequence[tuple[int, int]], states: int, segment: int, *, both: bool = False
) -> bytes:
    """The payload; equal input gives equal output. ``both`` tries classes of rows and columns together.

    ``GateError`` if some symbols are on no path.
    """
    symbol_N = byte_tensor(raw)
    head, lines, class_N = _trellis_classes(symbol_N, shapes, both)
    place_N, active = _trellis_walk(shapes, segment)
    walked_N = symbol_N.numpy()[place_N]
    _trellis_check(walked_N, active, states)
    context_N = class_N.numpy().astype(np.int16)[place_N] * 2 + (walked_N & 1)
    halves = [((walked_N[context_N == context]).view(np.int8) >> 1) for context in range(2 * _trellis_kinds(head))]
    parts = [range_encoded(line_L.numpy().tobytes(), 1) for line_L in lines]
    parts += [range_encoded(half.tobytes(), 1) for half in halves]
    return b"".join(
        [
            struct.pack("<BH", states.bit_length() - 1, segment),
            bytes(head),
            struct.pack(f"<{len(halves)}I", *map(len, halves)),
            struct.pack(f"<{len(parts)}I", *map(len, parts)),
            *parts,
        ]
    )


def trellis_decoded(quant: QuantSpec, payload: bytes, shapes: Sequence[tuple[int, int]]) -> bytes:
    """The stream again; ``ArtifactError`` for a payload that ``trellis_encoded`` does not write."""
    is_both = payload[3:4] == bytes([_TRELLIS_BOTH])
    start = 6 if is_both else 5
    if len(payload) < start or not shapes:
        raise MalformedError(f"payload of a trellis is damaged: {len(payload)} bytes for {len(shapes)} matrices")
    log_states, segment = struct.unpack_from("<BH", payload)
    head = list(payload[3:start])
    if not segment or 1 << log_states not in (1, *TRELLIS_STATES):
        raise MalformedError(f"payload of a trellis is damaged: 2**{log_states} states, {segment} rows a segment")
    if head[0] > _TRELLIS_BOTH or not all(1 <= count <= MOST_CLASSES for count in head[1:]):
        raise MalformedError(f"payload of a trellis is damaged: axis {head[0]}, {head[1:]} classes")
    contexts, first = 2 * _trellis_kinds(head), 1 + head[1] if is_both else 1
    place = start + 4 * contexts
    if len(payload) < place:
        raise MalformedError(f"payload of a trellis ends at byte {len(payload)}, before its parts begin")
    sizes = struct.unpack_from(f"<{contexts}I", payload, start)
    parts = payload_parts(payload, place, first + contexts)
    class_N = _trellis_read_classes(quant, head, parts[:first], shapes)
    place_N, active = _trellis_walk(shapes, segment)
    if sum(sizes) != len(place_N):
        raise MalformedError(f"payload of a trellis has {sum(sizes)} symbols instead of {len(place_N)}")
    halves = [
        np.frombuffer(decompress(quant, "range", part, raw_size=size, value_bytes=1), np.uint8)
        for part, size in zip(parts[first:], sizes, strict=True)
    ]
    symbol_N = np.empty(len(place_N), np.uint8)
    symbol_N[place_N] = _trellis_walked(halves, class_N.numpy().astype(np.int16)[place_N] * 2, active, 1 << log_states)
    return symbol_N.tobytes()


def _trellis_walked(
    halves: Sequence[_TrellisBytes], context_N: np.ndarray[Any, np.dtype[np.int16]], active: Sequence[int], states: int
) -> _TrellisBytes:
    """Symbols in the order of the walk: each path takes the next half of its context, row after row."""
    h0, h1 = map(np.uint8, trellis_checks(states))
    state_L: np.ndarray[Any, Any] = np.zeros(active[0], np.uint8)
    symbol_N = np.empty(len(context_N), np.uint8)
    starts = [0] * len(halves)
    start = 0
    for lanes in active:
        stop = start + lanes
        state_L = state_L[:lanes]
        odd_L = state_L & 1
        context_L = context_N[start:stop] + odd_L
        half_L = np.empty(lanes, np.uint8)
        counts = np.bincount(context_L, minlength=len(halves)).tolist()
        pieces = []
        for context, count in enumerate(counts):
            pieces.append(halves[context][starts[context] : starts[context] + count])
            starts[context] += count
        taken_L = np.concatenate(pieces)
        if len(taken_L) != lanes:
            raise MalformedError("paths of a trellis take more symbols of one parity than there are")
        # stable sorts of short integers take one pass
        half_L[context_L.argsort(kind="stable")] = taken_L
        symbol_N[start:stop] = half_L << 1 | odd_L
        state_L = state_L >> 1 ^ odd_L * h0 ^ (half_L & 1) * h1
        start = stop
    return symbol_N


def _trellis_check(symbol_N: _TrellisBytes, active: Sequence[int], states: int) -> None:
    """``GateError`` unless every path goes where its symbols say."""
    h0, h1 = map(np.uint8, trellis_checks(states))
    state_L: np.ndarray[Any, Any] = np.zeros(active[0], np.uint8)
    start = 0
    for lanes in active:
        symbol_L = symbol_N[start : start + lanes]
        odd_L = symbol_L & 1
        if not np.array_equal(odd_L, state_L[:lanes] & 1):
            raise GateError(f"symbols of a trellis of {states} states must be a path through it; round them again")
        state_L = state_L[:lanes] >> 1 ^ odd_L * h0 ^ (symbol_L >> 1 & 1) * h1
        start += lanes


def _trellis_walk(shapes: Sequence[tuple[int, int]], segment: int) -> tuple[_TrellisPlaces, list[int]]:
    """Where in the stream each symbol of the walk lies, and of how many paths each step of the walk is."""
    starts, lengths, offset = [], [], 0
    for rows, columns in shapes:
        for first in range(0, rows, segment):
            starts.append(np.arange(columns, dtype=np.int64) * rows + offset + first)
            lengths.append(np.full(columns, min(segment, rows - first)))
        offset += rows * columns
    start_L, length_L = np.concatenate(starts), np.concatenate(lengths)
    # longest first, so that paths that have ended lie behind those that go on
    order_L = (-length_L).argsort(kind="stable")
    start_L, length_L = start_L[order_L], length_L[order_L]
    active = [int((length_L > step).sum()) for step in range(int(length_L[0]))]
    return np.concatenate([start_L[:lanes] + step for step, lanes in enumerate(active)]), active


def _trellis_kinds(head: Sequence[int]) -> int:
    """Classes altogether."""
    return head[1] * head[2] if head[0] == _TRELLIS_BOTH else head[1]


def _trellis_classes(
    symbol_N: UInt8[Tensor, " N"], shapes: Sequence[tuple[int, int]], both: bool
) -> tuple[list[int], list[Tensor], Tensor]:
    """Axis and numbers of classes; the classes of lines; the class of each symbol: of fewest bytes, nearly."""
    best: tuple[float, list[int], list[Tensor]] | None = None
    for axis in (0, 1):
        counts_LS = line_counts(symbol_N, shapes, axis)
        for count in (1, *CLASS_COUNTS):
            class_L, bits = line_classes(counts_LS, count)
            if best is None or bits < best[0]:
                best = bits, [axis, int(class_L.max()) + 1], [class_L]
    assert best is not None
    if both and (pair := pair_classes(symbol_N, shapes))[0] < best[0]:
        _, row_L, column_RL = pair
        head = [_TRELLIS_BOTH, len(column_RL), int(column_RL.max()) + 1]
        return head, [row_L, *column_RL], spread_pairs(row_L, column_RL, shapes, head[2])
    _, head, lines = best
    return head, lines, spread_lines(lines[0], shapes, head[0])


def _trellis_read_classes(
    quant: QuantSpec, head: Sequence[int], parts: Sequence[bytes], shapes: Sequence[tuple[int, int]]
) -> Tensor:
    rows, columns = sum(shape[0] for shape in shapes), sum(shape[1] for shape in shapes)
    if head[0] == _TRELLIS_BOTH:
        row_L = read_lines(quant, parts[0], rows, head[1])
        column_RL = torch.stack([read_lines(quant, part, columns, head[2]) for part in parts[1:]])
        return spread_pairs(row_L, column_RL, shapes, head[2])
    return spread_lines(read_lines(quant, parts[0], rows if head[0] else columns, head[1]), shapes, head[0])
