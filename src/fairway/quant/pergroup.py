"""Rows in an order of likeness, then ZPAQ by the program lrzip: the per-group codec of #1855 (recipes D.6).

A stream is a group already: the symbols of one role, layer by layer, each matrix transposed. In the groups of the
token embedding, of Q and of MLP up the rows of each matrix are put in a chain first, each beside the nearest one that
is left (L1, from row 0 on), so that neighbouring bytes are alike. ::

    u32 bytes of the orders, 0 for rows as they are
    orders, each row's place as u16, matrix after matrix, as codec ``brotli`` has halves
    the file that ``lrzip -z -L 9`` makes of the symbols

lrzip cuts a file by the processors it finds, so it is told of one: the same symbols give the same bytes everywhere.
It takes minutes over a full model, and whoever reads the artifact needs the program too.
"""

import resource
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int8, Int64
from torch import Tensor

from fairway.errors import GateError, MalformedError
from fairway.quant.artifact import StoredStream
from fairway.quant.classes import stream_shapes
from fairway.quant.codecs import brotli_encoded, decompress, range_encoded
from fairway.quant.packing import StoredTensor, value_bytes
from fairway.spec.quant import QuantSpec
from fairway.spec.roles import MATRIX_ROLES, Role

GROUP_STREAMS = (Role.EMBEDDING.value, *(role.value for role in MATRIX_ROLES))
"""Streams that lrzip packs; brotli packs the others."""
CHAINED_STREAMS = (Role.EMBEDDING.value, Role.QUERY.value, Role.MLP_UP.value)
"""Streams whose rows are put in order."""

_PERGROUP_PROGRAM = "lrzip"
_PERGROUP_MOST_ROWS = 1 << 16
_PERGROUP_SPARE_BYTES = 1 << 16
"""What the program may write beyond the stream itself."""


def has_lrzip() -> bool:
    """Whether the program can be run here."""
    return shutil.which(_PERGROUP_PROGRAM) is not None


def group_stream(quant: QuantSpec, tensors: Sequence[StoredTensor], stream: str, raw: bytes) -> StoredStream:
    """One stream as the record packs it; ``pergroup_or_range`` has the range coder where the program is missing."""
    if stream not in GROUP_STREAMS:
        return StoredStream(stream, "brotli", brotli_encoded(raw, value_bytes(stream)), len(raw))
    if quant.codec == "pergroup_or_range" and not has_lrzip():
        return StoredStream(stream, "range", range_encoded(raw, 1), len(raw))
    return StoredStream(stream, "lrzip", pergrouped(raw, stream_shapes(tensors, stream), stream), len(raw))


def likeness_order(q_OI: Int8[Tensor, "O I"]) -> Int64[Tensor, " O"]:
    """A chain over the rows: row 0, then ever the nearest of those left in L1, the first of equals."""
    # sums of differences of bytes are whole numbers far below 2**24, so float32 is exact
    distance_OO = torch.cdist(q_OI.float(), q_OI.float(), p=1.0)
    taken_O = torch.zeros(len(q_OI))
    place, order = 0, [0]
    for _ in range(len(q_OI) - 1):
        taken_O[place] = torch.inf
        distance_O = distance_OO[place] + taken_O
        # argmin leaves open which of equals it takes
        place = int((distance_O == distance_O.min()).nonzero()[0])
        order.append(place)
    return torch.tensor(order)


def pergrouped(raw: bytes, shapes: Sequence[tuple[int, int]], stream: str) -> bytes:
    """The payload of a stream of symbols; ``GateError`` without the program, or if a matrix has too many rows."""
    orders, pieces, start = [], [], 0
    for rows, columns in shapes:
        symbols_IO = _pergroup_tensor(raw[start : start + rows * columns]).view(columns, rows)
        start += rows * columns
        if stream in CHAINED_STREAMS:
            if rows > _PERGROUP_MOST_ROWS:
                raise GateError(f"codec pergroup orders at most {_PERGROUP_MOST_ROWS} rows, a matrix has {rows}")
            order_O = likeness_order(symbols_IO.T)
            orders.append(order_O.to(torch.int32).to(torch.uint16).numpy().tobytes())
            symbols_IO = symbols_IO[:, order_O]
        pieces.append(symbols_IO.contiguous().numpy().tobytes())
    packed_orders = brotli_encoded(b"".join(orders), 2)
    file = _pergroup_lrzip(("-z", "-L", "9"), b"".join(pieces), 2 * len(raw))
    return struct.pack("<I", len(packed_orders)) + packed_orders + file


def unpergrouped(quant: QuantSpec, payload: bytes, shapes: Sequence[tuple[int, int]]) -> bytes:
    """The stream again; ``ArtifactError`` for a payload that ``pergrouped`` does not write, ``GateError`` as there."""
    size = struct.unpack_from("<I", payload)[0] if len(payload) >= 4 else len(payload)
    if 4 + size > len(payload):
        raise MalformedError(f"orders of a group end at byte {4 + size}, the payload has {len(payload)}")
    raw_size, rows_of_all = sum(rows * columns for rows, columns in shapes), sum(rows for rows, _ in shapes)
    try:
        raw = _pergroup_lrzip(("-d",), payload[4 + size :], raw_size)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        raise MalformedError(
            f"lrzip payload of {len(payload)} bytes is damaged, or holds more than {raw_size}"
        ) from error
    if len(raw) != raw_size:
        raise MalformedError(f"lrzip payload must hold {raw_size} bytes, got {len(raw)}")
    if not size:
        return raw
    orders = decompress(quant, "brotli", payload[4 : 4 + size], raw_size=2 * rows_of_all, value_bytes=2)
    order_N = torch.frombuffer(bytearray(orders), dtype=torch.uint16).to(torch.int64)
    pieces, start, first = [], 0, 0
    for rows, columns in shapes:
        order_O = order_N[first : first + rows]
        if not torch.equal(order_O.sort().values, torch.arange(rows)):
            raise MalformedError(f"an order of {rows} rows must name each of them once")
        symbols_IO = _pergroup_tensor(raw[start : start + rows * columns]).view(columns, rows)
        pieces.append(symbols_IO[:, order_O.argsort()].contiguous().numpy().tobytes())
        start, first = start + rows * columns, first + rows
    return b"".join(pieces)


def _pergroup_tensor(raw: bytes) -> Int8[Tensor, " N"]:
    # bytearray: torch wants memory that it may write to
    return torch.frombuffer(bytearray(raw), dtype=torch.int8)


def _pergroup_lrzip(arguments: Sequence[str], data: bytes, most: int) -> bytes:
    """What the program makes of a file, which may not grow beyond ``most`` bytes and some to spare."""
    if not has_lrzip():
        raise GateError(
            f"codec pergroup needs the program {_PERGROUP_PROGRAM}, which is not installed; install it, or pack by"
            " another quant.codec"
        )
    limit = most + _PERGROUP_SPARE_BYTES
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.lrz", Path(folder) / "out"
        source.write_bytes(data)
        subprocess.check_output(
            [_PERGROUP_PROGRAM, *arguments, "-q", "-f", "-p", "1", "-o", str(target), str(source)],
            stderr=subprocess.DEVNULL,
            cwd=folder,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        return target.read_bytes()
