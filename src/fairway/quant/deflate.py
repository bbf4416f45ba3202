"""zlib, for recipes that name it: what the first records were packed by (recipes D.6).

Halves are split into a plane of low and one of high bytes first, which is all that the byte shuffle of later records
does: symbols of one byte have nothing to shuffle.
"""

import zlib

from fairway.errors import MalformedError


def deflated(raw: bytes, value_bytes: int) -> bytes:
    """The payload of a stream; that of an empty one is empty."""
    return zlib.compress(b"".join(raw[place::value_bytes] for place in range(value_bytes)), 9) if raw else b""


def inflated(payload: bytes, raw_size: int, value_bytes: int) -> bytes:
    """The stream again; ``ArtifactError`` unless the payload holds its ``raw_size`` bytes and nothing else."""
    if not raw_size and not payload:
        return b""
    inflate = zlib.decompressobj()
    try:
        planes = inflate.decompress(payload, raw_size + 1)
    except zlib.error as error:
        raise MalformedError(f"zlib payload of {len(payload)} bytes is damaged: {error}") from error
    if not inflate.eof or inflate.unused_data or len(planes) != raw_size:
        raise MalformedError(f"zlib payload of {len(payload)} bytes must hold {raw_size} bytes and end there")
    raw = bytearray(raw_size)
    values = raw_size // value_bytes
    for place in range(value_bytes):
        raw[place::value_bytes] = planes[place * values : (place + 1) * values]
    return bytes(raw)
