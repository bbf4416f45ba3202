"""Range coding of symbols that are paths of a trellis: half of each symbol's parity-mates never need be told apart.

The state says whether the next symbol is even or odd, so what is coded is the symbol's half, rounded down, by the model
of its parity and of its class (``classes``). Both parities of a class are parts of their own, in the order in which
the paths go on all together: first row of every segment of every column, second row of every segment, and so on. So
all parts are decoded at once, and the paths then take from them what is theirs, row by row::

    u8 log2 of the states, u16 rows of a segment, u8 classes of rows, u8 classes of columns,
    u32 halves of each pair of classes and parity, even ones first, u32 bytes of each part,
    parts, each as codec ``range`` has it: classes of lines (as in ``classes``, both axes), then the halves
"""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from fairway.errors import GateError, MalformedError
from fairway.quant.artifact import StoredStream
from fairway.quant.classes import (
    MOST_CLASSES,
    byte_tensor,
    pair_classes,
    payload_parts,
    read_lines,
    spread_pairs,
    stream_shapes,
)
from fairway.quant.codecs import decompress, range_encoded
from fairway.quant.packing import StoredTensor
from fairway.quant.plan import grid_of
from fairway.quant.trellis import trellis_checks
from fairway.spec.quant import TRELLIS_STATES, Grid, QuantileGrid, QuantSpec, TrellisGrid
from fairway.spec.roles import Role

_TRELLIS_ROW_COUNTS, _TRELLIS_COLUMN_COUNTS = (1, 2, 4), (1, 2, 4, 8, 16)
_TRELLIS_TABLE_BITS = 1200.0
"""What one more class costs: two tables, one a parity, and what their words leave unused."""

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
    return StoredStream(stream, "trellis", trellis_encoded(raw, shapes, grid.states, grid.segment), len(raw))


def trellis_encoded(raw: bytes, shapes: Sequence[tuple[int, int]], states: int, segment: int) -> bytes:
    """The payload; equal input gives equal output. ``GateError`` if some symbols are on no path."""
    symbol_N = byte_tensor(raw)
    _, row_L, column_RL = pair_classes(
        symbol_N, shapes, _TRELLIS_ROW_COUNTS, _TRELLIS_COLUMN_COUNTS, _TRELLIS_TABLE_BITS
    )
    kinds, count = len(column_RL), int(column_RL.max()) + 1
    place_N, active = _trellis_walk(shapes, segment)
    walked_N = symbol_N.numpy()[place_N]
    _trellis_check(walked_N, active, states)
    context_N = spread_pairs(row_L, column_RL, shapes, count).numpy()[place_N] * 2 + (walked_N & 1)
    halves = [(walked_N[context_N == context].view(np.int8) >> 1) for context in range(2 * kinds * count)]
    parts = [range_encoded(each.tobytes(), 1) for each in (row_L.numpy(), *column_RL.numpy(), *halves)]
    sizes = [*map(len, halves), *map(len, parts)]
    head = struct.pack(f"<BHBB{len(sizes)}I", states.bit_length() - 1, segment, kinds, count, *sizes)
    return b"".join([head, *parts])


def trellis_decoded(quant: QuantSpec, payload: bytes, shapes: Sequence[tuple[int, int]]) -> bytes:
    """The stream again; ``ArtifactError`` for a payload that ``trellis_encoded`` does not write."""
    head = payload.ljust(5, b"\0")
    log_states, segment, kinds, count = struct.unpack_from("<BHBB", head)
    states, start = 1 << log_states, 5 + 8 * kinds * count
    is_sound = states in (1, *TRELLIS_STATES) and segment and kinds in range(1, MOST_CLASSES + 1)
    if not is_sound or count not in range(1, MOST_CLASSES + 1) or len(payload) < start:
        raise MalformedError(
            f"payload of a trellis is damaged: 2**{log_states} states, {segment} rows a segment,"
            f" {kinds} times {count} classes, {len(payload)} bytes"
        )
    sizes = struct.unpack_from(f"<{2 * kinds * count}I", payload, 5)
    parts = payload_parts(payload, start, 1 + kinds + len(sizes))
    row_L = read_lines(quant, parts[0], sum(shape[0] for shape in shapes), kinds)
    columns = sum(shape[1] for shape in shapes)
    column_RL = torch.stack([read_lines(quant, part, columns, count) for part in parts[1 : 1 + kinds]])
    place_N, active = _trellis_walk(shapes, segment)
    if sum(sizes) != len(place_N):
        raise MalformedError(f"payload of a trellis has {sum(sizes)} symbols instead of {len(place_N)}")
    halves = [
        np.frombuffer(decompress(quant, "range", part, raw_size=size, value_bytes=1), np.uint8)
        for part, size in zip(parts[1 + kinds :], sizes, strict=True)
    ]
    symbol_N = np.empty(len(place_N), np.uint8)
    context_N = spread_pairs(row_L, column_RL, shapes, count).numpy()[place_N] * 2
    symbol_N[place_N] = _trellis_walked(halves, context_N, active, states)
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
