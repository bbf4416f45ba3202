"""Range coding with a model for each class of rows or columns, where their symbols differ in spread.

Matrices whose steps are those of their rows have alike rows, but their columns differ where the inputs do (MLP down,
most of all); matrices with one step for all (a floor under the steps) differ by rows. Whichever of the two, and how
many classes, takes the fewest bytes is decided for each stream by its own counts, classes of the lines included::

    u8 axis (0 columns, 1 rows), u8 classes, u32 bytes of each part (classes + 1),
    parts, each as codec ``range`` has it: the class of each line, then the symbols of each class

Tokens that a text hardly shows have rows of the embedding that are alike: all were pushed the same way. So the rows of
its stream may have classes, and in each of those the columns (a trained pocket embedding takes 0.85 of its entropy
thus, 0.96 by one axis, and 0.87 by brotli)::

    u8 axis (2 both), u8 classes of rows, u8 classes of columns, u32 bytes of each part,
    parts: the class of each row; for each class of rows the class of each column; the symbols of each pair of classes

Lines are those of each matrix in turn, as ``packing`` lays them: a stream is its matrices transposed, so that a
column's symbols stand together.
"""

import struct
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from fairway.errors import MalformedError
from fairway.quant.artifact import StoredStream
from fairway.quant.codecs import LONG_STREAM_BYTES, StoredCodec, brotli_encoded, decompress, range_encoded
from fairway.quant.packing import StoredTensor, value_bytes
from fairway.spec.quant import QuantSpec
from fairway.spec.roles import Role

_CLASSES_COUNTS = (2, 4, 8)
_CLASSES_ROW_COUNTS, _CLASSES_COLUMN_COUNTS = (2, 4), (2, 4, 8, 16)
_CLASSES_BOTH = 2
_CLASSES_ROUNDS = 4
MOST_CLASSES = 16
_CLASSES_TABLE_BITS = 400.0
"""What one more model costs: a count each for some forty symbols, and a length."""


def stream_shapes(tensors: Sequence[StoredTensor], stream: str) -> list[tuple[int, int]]:
    """Rows and columns of the matrices whose symbols lie in a stream, in their order."""
    return [(tensor.shape[0], tensor.shape[1]) for tensor in tensors if tensor.stream == stream]


def class_stream(tensors: Sequence[StoredTensor], stream: str, raw: bytes) -> StoredStream:
    """A stream by the range coder with classes of lines or without them, or by brotli (if it is short)."""
    size = value_bytes(stream)
    tried: list[tuple[StoredCodec, bytes]] = [("range", range_encoded(raw, size))]
    if len(raw) <= LONG_STREAM_BYTES:
        tried.append(("brotli", brotli_encoded(raw, size)))
    if size == 1:
        shapes = stream_shapes(tensors, stream)
        tried.append(("classes", classed(raw, shapes, both=stream == Role.EMBEDDING.value)))
    codec, payload = min(tried, key=lambda attempt: len(attempt[1]))
    return StoredStream(stream, codec, payload, len(raw))


def classed(raw: bytes, shapes: Sequence[tuple[int, int]], *, both: bool = False) -> bytes:
    """The payload of least bytes that classes give, nearly; equal input gives equal output.

    ``both`` tries classes of rows and columns together, which takes as long again.
    """
    symbols_N = byte_tensor(raw)
    best: tuple[float, int, Tensor] | None = None
    for axis in (0, 1):
        counts_LS = line_counts(symbols_N, shapes, axis)
        for count in _CLASSES_COUNTS:
            class_L, bits = line_classes(counts_LS, count, _CLASSES_TABLE_BITS)
            if best is None or bits < best[0]:
                best = bits, axis, class_L
    assert best is not None
    if (
        both
        and (pair := pair_classes(symbols_N, shapes, _CLASSES_ROW_COUNTS, _CLASSES_COLUMN_COUNTS, _CLASSES_TABLE_BITS))[
            0
        ]
        < best[0]
    ):
        return _classes_written_both(symbols_N, shapes, *pair[1:])
    _, axis, class_L = best
    class_N = spread_lines(class_L, shapes, axis)
    kinds = int(class_L.max()) + 1
    pieces = [class_L.numpy().tobytes(), *(symbols_N[class_N == kind].numpy().tobytes() for kind in range(kinds))]
    parts = [range_encoded(piece, 1) for piece in pieces]
    head = struct.pack(f"<BB{len(parts)}I", axis, kinds, *map(len, parts))
    return b"".join([head, *parts])


def unclassed(quant: QuantSpec, payload: bytes, shapes: Sequence[tuple[int, int]]) -> bytes:
    """The stream again; ``ArtifactError`` for a payload that ``classed`` does not write."""
    if payload[:1] == bytes([_CLASSES_BOTH]):
        return _classes_read_both(quant, payload, shapes)
    lines = sum(shape[1 - axis] for shape in shapes) if (axis := payload[0] if payload else 2) < 2 else 0
    kinds = payload[1] if len(payload) > 1 else 0
    if not lines or not 1 <= kinds <= MOST_CLASSES:
        raise MalformedError(f"payload of classes is damaged: axis {axis}, {kinds} classes, {len(payload)} bytes")
    parts = payload_parts(payload, 2, kinds + 1)
    class_N = spread_lines(read_lines(quant, parts[0], lines, kinds), shapes, axis)
    return _classes_joined(quant, parts[1:], class_N)


def payload_parts(payload: bytes, place: int, count: int) -> list[bytes]:
    """The parts whose sizes stand at ``place``, to the payload's end."""
    start = place + 4 * count
    if len(payload) < start:
        raise MalformedError(f"payload of classes ends at byte {len(payload)}, before its parts begin")
    sizes = struct.unpack_from(f"<{count}I", payload, place)
    if start + sum(sizes) != len(payload):
        raise MalformedError(f"parts of classes end at byte {start + sum(sizes)}, the payload has {len(payload)}")
    parts = []
    for size in sizes:
        parts.append(payload[start : start + size])
        start += size
    return parts


def read_lines(quant: QuantSpec, part: bytes, lines: int, kinds: int) -> UInt8[Tensor, " L"]:
    """The class of each line."""
    class_L = byte_tensor(decompress(quant, "range", part, raw_size=lines, value_bytes=1))
    if int(class_L.max()) >= kinds:
        raise MalformedError(f"a line has class {int(class_L.max())}, but there are {kinds}")
    return class_L


def _classes_joined(quant: QuantSpec, parts: Sequence[bytes], class_N: Tensor) -> bytes:
    """Symbols in the order of the stream, from those of each class."""
    symbols_N = torch.empty(len(class_N), dtype=torch.uint8)
    for kind, part in enumerate(parts):
        of_kind_N = class_N == kind
        found = decompress(quant, "range", part, raw_size=int(of_kind_N.sum()), value_bytes=1)
        if found:
            symbols_N[of_kind_N] = byte_tensor(found)
    return symbols_N.numpy().tobytes()


def pair_classes(
    symbols_N: UInt8[Tensor, " N"],
    shapes: Sequence[tuple[int, int]],
    row_counts: Sequence[int],
    column_counts: Sequence[int],
    table_bits: float,
) -> tuple[float, UInt8[Tensor, " O"], UInt8[Tensor, "R I"]]:
    """Bits, the class of each row, and for each class of rows the class of each column: the best that were tried."""
    rows_LS = line_counts(symbols_N, shapes, 1)
    best: tuple[float, Tensor, Tensor] | None = None
    for kinds in row_counts:
        row_L, _ = line_classes(rows_LS, kinds, table_bits)
        row_N = spread_lines(row_L, shapes, 1)
        row_bits = _classes_line_bits(row_L, kinds)
        columns = [line_counts(symbols_N, shapes, 0, row_N == kind) for kind in range(kinds)]
        for count in column_counts:
            found = [line_classes(counts_LS, count, table_bits) for counts_LS in columns]
            bits = row_bits + sum(each for _, each in found)
            if best is None or bits < best[0]:
                best = bits, row_L, torch.stack([class_L for class_L, _ in found])
    assert best is not None
    return best


def spread_pairs(row_L: Tensor, column_RL: Tensor, shapes: Sequence[tuple[int, int]], count: int) -> Tensor:
    """For each symbol its row's class times ``count`` plus its column's class."""
    row_N = spread_lines(row_L, shapes, 1)
    pair_N = torch.empty(len(row_N), dtype=torch.int16)
    for kind, column_L in enumerate(column_RL):
        of_kind_N = row_N == kind
        pair_N[of_kind_N] = kind * count + spread_lines(column_L, shapes, 0)[of_kind_N].to(torch.int16)
    return pair_N


def _classes_written_both(
    symbols_N: UInt8[Tensor, " N"], shapes: Sequence[tuple[int, int]], row_L: Tensor, column_RL: Tensor
) -> bytes:
    kinds, count = len(column_RL), int(column_RL.max()) + 1
    pair_N = spread_pairs(row_L, column_RL, shapes, count)
    pieces = [row_L, *column_RL, *(symbols_N[pair_N == pair] for pair in range(kinds * count))]
    parts = [range_encoded(piece.numpy().tobytes(), 1) for piece in pieces]
    head = struct.pack(f"<BBB{len(parts)}I", _CLASSES_BOTH, kinds, count, *map(len, parts))
    return b"".join([head, *parts])


def _classes_read_both(quant: QuantSpec, payload: bytes, shapes: Sequence[tuple[int, int]]) -> bytes:
    kinds, count = (payload[1], payload[2]) if len(payload) > 2 else (0, 0)
    rows, columns = sum(shape[0] for shape in shapes), sum(shape[1] for shape in shapes)
    if not rows or not 1 <= kinds <= MOST_CLASSES or not 1 <= count <= MOST_CLASSES:
        raise MalformedError(f"payload of classes is damaged: {kinds} times {count} classes, {len(payload)} bytes")
    parts = payload_parts(payload, 3, 1 + kinds + kinds * count)
    row_L = read_lines(quant, parts[0], rows, kinds)
    column_RL = torch.stack([read_lines(quant, part, columns, count) for part in parts[1 : 1 + kinds]])
    return _classes_joined(quant, parts[1 + kinds :], spread_pairs(row_L, column_RL, shapes, count))


def byte_tensor(raw: bytes) -> UInt8[Tensor, " N"]:
    """Bytes as numbers, with memory of their own."""
    # bytearray: torch wants memory that it may write to
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)


def spread_lines(line_L: Tensor, shapes: Sequence[tuple[int, int]], axis: int) -> Tensor:
    """A value of each line to each symbol of that line."""
    spread, start = [], 0
    for rows, columns in shapes:
        lines = rows if axis else columns
        of_matrix = line_L[start : start + lines]
        spread.append(of_matrix.repeat(columns) if axis else of_matrix.repeat_interleave(rows))
        start += lines
    return torch.cat(spread)


def line_counts(
    symbols_N: UInt8[Tensor, " N"], shapes: Sequence[tuple[int, int]], axis: int, chosen_N: Tensor | None = None
) -> Int64[Tensor, "L 256"]:
    """How often each symbol occurs in each line, of all or of those that are chosen."""
    lines = sum(shape[1 - axis] for shape in shapes)
    line_N = spread_lines(torch.arange(lines, dtype=torch.int32), shapes, axis)
    places_N = line_N.mul_(256).add_(symbols_N)
    if chosen_N is not None:
        places_N = places_N[chosen_N]
    return places_N.bincount(minlength=256 * lines).view(lines, 256)


def line_classes(counts_LS: Int64[Tensor, "L 256"], count: int, table_bits: float) -> tuple[UInt8[Tensor, " L"], float]:
    """Class of each line and the bits of all: by spread at first, then by which class's model takes fewest bits.

    ``table_bits`` is what one more model costs.
    """
    used_S = counts_LS.any(0)
    counts_LS = counts_LS[:, used_S].double()
    sizes = torch.arange(256)[used_S]
    distance_S = torch.where(sizes < 128, sizes, 256 - sizes).double()
    order_L = (counts_LS @ distance_S / counts_LS.sum(1).clamp_min(1)).argsort(stable=True)
    class_L = torch.empty_like(order_L)
    class_L[order_L] = torch.arange(len(order_L)) * count // len(order_L)
    for _ in range(_CLASSES_ROUNDS):
        class_L = (counts_LS @ _classes_costs(counts_LS, class_L, count).T).argmin(1)
    costs_KS = _classes_costs(counts_LS, class_L, count)
    bits = float((counts_LS @ costs_KS.T).gather(1, class_L[:, None]).sum())
    return class_L.to(torch.uint8), bits + _classes_line_bits(class_L, count) + count * table_bits


def _classes_line_bits(class_L: Tensor, count: int) -> float:
    """Bits of the lines' classes themselves."""
    shares_K = class_L.bincount(minlength=count).double() / len(class_L)
    return float(torch.special.entr(shares_K).sum()) / 0.6931471805599453 * len(class_L)


def _classes_costs(counts_LS: Float[Tensor, "L S"], class_L: Int64[Tensor, " L"], count: int) -> Float[Tensor, "K S"]:
    """Bits of each symbol under each class's frequencies; a quarter of an occurrence for those that never occur."""
    sums_KS = torch.zeros(count, counts_LS.shape[1], dtype=torch.float64).index_add_(0, class_L, counts_LS) + 0.25
    return -(sums_KS / sums_KS.sum(1, keepdim=True)).log2()
