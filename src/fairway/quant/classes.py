"""Range coding with a model for each class of rows or columns, where their symbols differ in spread.

Matrices whose steps are those of their rows have alike rows, but their columns differ where the inputs do (MLP down,
most of all); matrices with one step for all (a floor under the steps) differ by rows. Whichever of the two, and how
many classes, takes the fewest bytes is decided for each stream by its own counts, classes of the lines included::

    u8 axis (0 columns, 1 rows), u8 classes, u32 bytes of each part (classes + 1),
    parts, each as codec ``range`` has it: the class of each line, then the symbols of each class

Lines are those of each matrix in turn, as ``packing`` lays them: a stream is its matrices transposed, so that a
column's symbols stand together.
"""

import struct
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from fairway.errors import MalformedError
from fairway.quant.codecs import decompress, range_encoded
from fairway.quant.packing import StoredTensor
from fairway.spec.quant import QuantSpec

_CLASSES_COUNTS = (2, 4, 8)
_CLASSES_ROUNDS = 4
_CLASSES_MOST = 16
_CLASSES_TABLE_BITS = 400.0
"""What one more model costs: a count each for some forty symbols, and a length."""


def stream_shapes(tensors: Sequence[StoredTensor], stream: str) -> list[tuple[int, int]]:
    """Rows and columns of the matrices whose symbols lie in a stream, in their order."""
    return [(tensor.shape[0], tensor.shape[1]) for tensor in tensors if tensor.stream == stream]


def classed(raw: bytes, shapes: Sequence[tuple[int, int]]) -> bytes:
    """The payload of least bytes that classes give, nearly; equal input gives equal output."""
    symbols_N = _classes_tensor(raw)
    best: tuple[float, int, Tensor] | None = None
    for axis in (0, 1):
        counts_LS = _classes_counts(symbols_N, shapes, axis)
        for count in _CLASSES_COUNTS:
            class_L, bits = _classes_of(counts_LS, count)
            if best is None or bits < best[0]:
                best = bits, axis, class_L
    assert best is not None
    _, axis, class_L = best
    class_N = _classes_spread(class_L, shapes, axis)
    kinds = int(class_L.max()) + 1
    pieces = [class_L.numpy().tobytes(), *(symbols_N[class_N == kind].numpy().tobytes() for kind in range(kinds))]
    parts = [range_encoded(piece, 1) for piece in pieces]
    head = struct.pack(f"<BB{len(parts)}I", axis, kinds, *map(len, parts))
    return b"".join([head, *parts])


def unclassed(quant: QuantSpec, payload: bytes, shapes: Sequence[tuple[int, int]]) -> bytes:
    """The stream again; ``ArtifactError`` for a payload that ``classed`` does not write."""
    lines = sum(shape[1 - axis] for shape in shapes) if (axis := payload[0] if payload else 2) < 2 else 0
    kinds = payload[1] if len(payload) > 1 else 0
    start = 2 + 4 * (kinds + 1)
    if not lines or not 1 <= kinds <= _CLASSES_MOST or len(payload) < start:
        raise MalformedError(f"payload of classes is damaged: axis {axis}, {kinds} classes, {len(payload)} bytes")
    sizes = struct.unpack_from(f"<{kinds + 1}I", payload, 2)
    if start + sum(sizes) != len(payload):
        raise MalformedError(f"parts of classes end at byte {start + sum(sizes)}, the payload has {len(payload)}")
    parts = []
    for size in sizes:
        parts.append(payload[start : start + size])
        start += size
    class_L = _classes_tensor(decompress(quant, "range", parts[0], raw_size=lines, value_bytes=1))
    if int(class_L.max()) >= kinds:
        raise MalformedError(f"a line has class {int(class_L.max())}, but there are {kinds}")
    class_N = _classes_spread(class_L, shapes, axis)
    symbols_N = torch.empty(len(class_N), dtype=torch.uint8)
    for kind, part in enumerate(parts[1:]):
        of_kind_N = class_N == kind
        found = decompress(quant, "range", part, raw_size=int(of_kind_N.sum()), value_bytes=1)
        if found:
            symbols_N[of_kind_N] = _classes_tensor(found)
    return symbols_N.numpy().tobytes()


def _classes_tensor(raw: bytes) -> UInt8[Tensor, " N"]:
    # bytearray: torch wants memory that it may write to
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8)


def _classes_spread(line_L: Tensor, shapes: Sequence[tuple[int, int]], axis: int) -> Tensor:
    """A value of each line to each symbol of that line."""
    spread, start = [], 0
    for rows, columns in shapes:
        lines = rows if axis else columns
        of_matrix = line_L[start : start + lines]
        spread.append(of_matrix.repeat(columns) if axis else of_matrix.repeat_interleave(rows))
        start += lines
    return torch.cat(spread)


def _classes_counts(
    symbols_N: UInt8[Tensor, " N"], shapes: Sequence[tuple[int, int]], axis: int
) -> Int64[Tensor, "L 256"]:
    """How often each symbol occurs in each line."""
    lines = sum(shape[1 - axis] for shape in shapes)
    line_N = _classes_spread(torch.arange(lines, dtype=torch.int32), shapes, axis)
    places_N = line_N.mul_(256).add_(symbols_N)
    return places_N.bincount(minlength=256 * lines).view(lines, 256)


def _classes_of(counts_LS: Int64[Tensor, "L 256"], count: int) -> tuple[UInt8[Tensor, " L"], float]:
    """Class of each line and the bits of all: by spread at first, then by which class's model takes fewest bits."""
    used_S = counts_LS.any(0)
    counts_LS = counts_LS[:, used_S].double()
    sizes = torch.arange(256)[used_S]
    distance_S = torch.where(sizes < 128, sizes, 256 - sizes).double()
    order_L = (counts_LS @ distance_S / counts_LS.sum(1)).argsort(stable=True)
    class_L = torch.empty_like(order_L)
    class_L[order_L] = torch.arange(len(order_L)) * count // len(order_L)
    for _ in range(_CLASSES_ROUNDS):
        class_L = (counts_LS @ _classes_costs(counts_LS, class_L, count).T).argmin(1)
    costs_KS = _classes_costs(counts_LS, class_L, count)
    bits = float((counts_LS @ costs_KS.T).gather(1, class_L[:, None]).sum())
    shares_K = class_L.bincount(minlength=count).double() / len(class_L)
    bits += float(torch.special.entr(shares_K).sum()) / 0.6931471805599453 * len(class_L)
    return class_L.to(torch.uint8), bits + count * _CLASSES_TABLE_BITS


def _classes_costs(counts_LS: Float[Tensor, "L S"], class_L: Int64[Tensor, " L"], count: int) -> Float[Tensor, "K S"]:
    """Bits of each symbol under each class's frequencies; a quarter of an occurrence for those that never occur."""
    sums_KS = torch.zeros(count, counts_LS.shape[1], dtype=torch.float64).index_add_(0, class_L, counts_LS) + 0.25
    return -(sums_KS / sums_KS.sum(1, keepdim=True)).log2()
