"""Bytes to fewer bytes and back, by name; decompression never yields more than it was told to expect.

``range`` codes each byte plane with one static model, the counts of the plane itself: on Gaussian-like symbols it
reaches their order-0 entropy (a table of some tens of bytes on top), where general-purpose compressors stay a
percent or more above. A plane is

    mode u8 = 0, then the bytes as they are                                        (nothing to gain)
    mode u8 = 1, mantissa bits u8, first symbol u8, symbols - 1 u8,
                 one count a symbol as a small float (LEB128), 32-bit words of the range coder

Counts are small *integer* floats, so that every machine rebuilds the same model. There is one model a plane and no
context: classes of channels by scale would save at most 0.24 % on rotated matrices, whose channels are alike.
Values of two bytes are split into a plane of low and one of high bytes, for every codec.
"""

import lzma
from collections.abc import Iterator
from typing import Any, Literal

import brotli  # type: ignore[import-untyped]
import constriction
import numpy as np
import zstandard

from fairway.errors import MalformedError
from fairway.spec.quant import QuantSpec

StoredCodec = Literal["range", "brotli", "zstd", "lzma", "zlib", "classes", "lrzip", "trellis"]

STORED_CODECS: tuple[StoredCodec, ...] = ("range", "brotli", "zstd", "lzma", "zlib", "classes", "lrzip", "trellis")
"""Names that an artifact may hold; the last four are not of this file."""

LONG_STREAM_BYTES = 1 << 20
"""Streams beyond this are not tried by brotli, unless the recipe names it."""

_RANGE_MANTISSA_BITS = (1, 2, 3, 4, 6, 8, 12, 20)
_RANGE_STORED, _RANGE_CODED = 0, 1
_RANGE_CHUNK = 1 << 20
_RANGE_EXPONENT_CAP = 32

_CodecBytes = np.ndarray[Any, np.dtype[np.uint8]]
_CodecCounts = np.ndarray[Any, np.dtype[np.int64]]


def compress(quant: QuantSpec, raw: bytes, *, value_bytes: int) -> tuple[StoredCodec, bytes]:
    """The codec that was used and its payload; equal input gives equal output.

    ``value_bytes`` is 1 for symbols and 2 for halves. ``smallest`` tries the range coder, and brotli on short
    streams: on long ones it takes a second a megabyte and loses a percent. (In the three artifacts of the pocket
    record zstd and lzma saved 2 bytes together, and each is code that a submission carries.)
    """
    assert len(raw) % value_bytes == 0, (len(raw), value_bytes)
    planes = b"".join(_codec_planes(raw, value_bytes))
    if quant.codec == "zstd":
        return "zstd", _zstd_encoded(planes)
    if quant.codec == "lzma":
        return "lzma", _lzma_encoded(planes)
    if quant.codec == "range":
        return "range", range_encoded(raw, value_bytes)
    if quant.codec == "smallest":
        range_payload = range_encoded(raw, value_bytes)
        if len(raw) > LONG_STREAM_BYTES or len(range_payload) <= len(brotli_encoded(raw, value_bytes)):
            return "range", range_payload
    return "brotli", brotli_encoded(raw, value_bytes)


def decompress(quant: QuantSpec, codec: StoredCodec, payload: bytes, *, raw_size: int, value_bytes: int) -> bytes:
    """The ``raw_size`` bytes that were compressed; ``ArtifactError`` if the payload holds anything else.

    A recipe that packs by zstd or lzma says so, and no other reads them. Memory stays within a small multiple of
    ``raw_size``, whatever the payload says of itself.
    """
    if raw_size == 0:
        if payload:
            raise MalformedError(f"{codec} payload of an empty stream must be empty, got {len(payload)} bytes")
        return b""
    try:
        if codec == "range":
            return _codec_interleave(_range_decoded(payload, raw_size, value_bytes), value_bytes)
        if codec == "brotli":
            planes = _brotli_decoded(payload, raw_size)
        elif quant.codec == "zstd":
            planes = _zstd_decoded(payload, raw_size)
        elif quant.codec == "lzma":
            planes = _lzma_decoded(payload, raw_size)
        else:
            raise MalformedError(f"the recipe packs by {quant.codec}, a stream is packed by {codec}")
    # constriction reports symbols that its model cannot have produced as an AssertionError
    except (AssertionError, ValueError, IndexError, brotli.error, *_codec_errors(quant)) as error:
        raise MalformedError(f"{codec} payload of {len(payload)} bytes is damaged: {error}") from error
    if len(planes) != raw_size:
        raise MalformedError(f"{codec} payload must hold {raw_size} bytes, got {len(planes)}")
    return _codec_interleave(planes, value_bytes)


def _codec_errors(quant: QuantSpec) -> list[type[Exception]]:
    if quant.codec == "zstd":
        return [zstandard.ZstdError]
    if quant.codec == "lzma":
        return [lzma.LZMAError]
    return []


def _codec_planes(raw: bytes, value_bytes: int) -> list[bytes]:
    return [raw[place::value_bytes] for place in range(value_bytes)]


def _codec_interleave(planes: bytes, value_bytes: int) -> bytes:
    values = len(planes) // value_bytes
    raw = bytearray(len(planes))
    for place in range(value_bytes):
        raw[place::value_bytes] = planes[place * values : (place + 1) * values]
    return bytes(raw)


# ---- general-purpose codecs, bounded


def _brotli_decoded(payload: bytes, raw_size: int) -> bytes:
    decoder = brotli.Decompressor()
    planes: bytes = decoder.process(payload, output_buffer_limit=raw_size + 1)
    if not decoder.is_finished():
        raise MalformedError(f"brotli payload of {len(payload)} bytes does not end after {raw_size} bytes")
    return planes


def _zstd_decoded(payload: bytes, raw_size: int) -> bytes:
    # A frame that tells its size would have so much allocated; we never write such a frame.
    if zstandard.get_frame_parameters(payload).content_size != zstandard.CONTENTSIZE_UNKNOWN:
        raise MalformedError("zstd payload names its own size, which this format does not allow")
    window = max(1 << 10, 1 << (raw_size - 1).bit_length())
    decoder = zstandard.ZstdDecompressor(max_window_size=window)
    return decoder.decompress(payload, max_output_size=raw_size, allow_extra_data=False)


def _lzma_filters(raw_size: int) -> list[dict[str, Any]]:
    # Order-0 data: the literal coder needs no context of the byte before, nor of the position.
    dictionary = max(1 << 12, min(1 << 26, 1 << (raw_size - 1).bit_length()))
    return [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary, "lc": 0, "pb": 0}]


def brotli_encoded(raw: bytes, value_bytes: int) -> bytes:
    """The payload of codec ``brotli``; that of an empty stream is empty."""
    return bytes(brotli.compress(b"".join(_codec_planes(raw, value_bytes)), quality=11, lgwin=24)) if raw else b""


def _zstd_encoded(planes: bytes) -> bytes:
    if not planes:
        return b""
    return zstandard.ZstdCompressor(level=22, write_content_size=False, write_checksum=False).compress(planes)


def _lzma_encoded(planes: bytes) -> bytes:
    if not planes:
        return b""
    return lzma.compress(planes, format=lzma.FORMAT_RAW, filters=_lzma_filters(len(planes)))


def _lzma_decoded(payload: bytes, raw_size: int) -> bytes:
    decoder = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=_lzma_filters(raw_size))
    planes = decoder.decompress(payload, max_length=raw_size + 1)
    if not decoder.eof or decoder.unused_data:
        raise MalformedError(f"lzma payload of {len(payload)} bytes does not end after {raw_size} bytes")
    return planes


# ---- range coding


def range_encoded(raw: bytes, value_bytes: int) -> bytes:
    """The payload of codec ``range``; that of an empty stream is empty."""
    if not raw:
        return b""
    pieces = [
        _range_plane_encoded(np.frombuffer(plane, np.uint8), _range_flip(value_bytes))
        for plane in _codec_planes(raw, value_bytes)
    ]
    return b"".join([*(_leb128(len(piece)) + piece for piece in pieces[:-1]), pieces[-1]])


def _range_decoded(payload: bytes, raw_size: int, value_bytes: int) -> bytes:
    values, planes, rest = raw_size // value_bytes, [], memoryview(payload)
    for place in range(value_bytes):
        if place < value_bytes - 1:
            size, rest = _read_leb128(rest)
            piece, rest = rest[:size], rest[size:]
        else:
            piece = rest
        planes.append(_range_plane_decoded(piece, values, _range_flip(value_bytes)))
    return b"".join(planes)


def _range_flip(value_bytes: int) -> int:
    """Bytes are coded as ``byte ^ flip``: signed symbols then lie in one run around 128."""
    return 0x80 if value_bytes == 1 else 0


def _range_plane_encoded(plane: _CodecBytes, flip: int) -> bytes:
    stored = bytes([_RANGE_STORED]) + plane.tobytes()
    shifted = plane ^ np.uint8(flip)
    first, last = int(shifted.min()), int(shifted.max())
    counts = np.bincount(shifted, minlength=256)[first : last + 1]
    mantissa_bits = min(_RANGE_MANTISSA_BITS, key=lambda bits: _range_cost_bytes(counts, bits))
    codes = _range_codes(counts, mantissa_bits)
    head = bytes([_RANGE_CODED, mantissa_bits, first, last - first]) + b"".join(map(_leb128, codes.tolist()))
    words = b""
    if first < last:
        encoder = constriction.stream.queue.RangeEncoder()
        encoder.encode((shifted - first).astype(np.int32), _range_model(codes, mantissa_bits))
        words = encoder.get_compressed().astype("<u4").tobytes()
    return min(head + words, stored, key=len)


def _range_plane_decoded(piece: memoryview, values: int, flip: int) -> bytes:
    if len(piece) == 0:
        raise MalformedError("range payload ends before its last plane")
    if piece[0] == _RANGE_STORED:
        if len(piece) - 1 != values:
            raise MalformedError(f"stored plane must have {values} bytes, got {len(piece) - 1}")
        return bytes(piece[1:])
    if piece[0] != _RANGE_CODED:
        raise MalformedError(f"mode of a plane must be {_RANGE_STORED} or {_RANGE_CODED}, got {piece[0]}")
    mantissa_bits, first, more = piece[1], piece[2], piece[3]
    if mantissa_bits not in _RANGE_MANTISSA_BITS or first + more > 255:
        raise MalformedError(f"range table is damaged: {mantissa_bits} mantissa bits, symbols {first}..{first + more}")
    codes, rest = [], piece[4:]
    for _ in range(more + 1):
        code, rest = _read_leb128(rest)
        codes.append(code)
    if len(rest) % 4:
        raise MalformedError(f"range coder's words must be 4 bytes each, got {len(rest)} bytes")
    if more == 0:
        if len(rest):
            raise MalformedError(f"a plane of one symbol needs no words, got {len(rest)} bytes")
        return bytes([first ^ flip]) * values
    model = _range_model(np.array(codes, np.int64), mantissa_bits)
    words = np.frombuffer(rest, "<u4").astype(np.uint32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    plane = np.empty(values, np.uint8)
    encoder = constriction.stream.queue.RangeEncoder()
    for start in range(0, values, _RANGE_CHUNK):
        stop = min(start + _RANGE_CHUNK, values)
        symbols = decoder.decode(model, stop - start)
        plane[start:stop] = symbols
        encoder.encode(symbols, model)
    # the decoder reads on past the end and stops early without complaint; encoding again costs little and proves both
    if not np.array_equal(encoder.get_compressed(), words):
        raise MalformedError(f"range payload is not that of {values} values")
    return ((plane + np.uint8(first)) ^ np.uint8(flip)).tobytes()


def _range_model(codes: _CodecCounts, mantissa_bits: int) -> Any:
    """The categorical model of a table; symbols that never occur get the least probability that the coder has."""
    if int(codes.max()) >> mantissa_bits > _RANGE_EXPONENT_CAP:
        raise MalformedError(f"a count of a range table must be below 2**{_RANGE_EXPONENT_CAP + mantissa_bits}")
    counts = _range_counts(codes, mantissa_bits)
    if not counts.any():
        raise MalformedError("a range table must have a count above zero")
    return constriction.stream.model.Categorical(counts.astype(np.float64), perfect=False)


def _range_cost_bytes(counts: _CodecCounts, mantissa_bits: int) -> float:
    """Bytes of table and words together, nearly: what a coarser table saves against what it costs."""
    codes = _range_codes(counts, mantissa_bits)
    rounded = _range_counts(codes, mantissa_bits)
    occurs = counts > 0
    bits = -(counts[occurs] * np.log2(rounded[occurs] / rounded.sum())).sum()
    digits = sum(int((codes >= 1 << 7 * place).sum()) for place in range(1, 5))
    return float(bits) / 8 + len(codes) + digits


def _range_codes(counts: _CodecCounts, mantissa_bits: int) -> _CodecCounts:
    """Exponent and mantissa of each count, rounded down, as one integer; exact below 2**(mantissa_bits + 1)."""
    bit_lengths = np.frexp(counts.astype(np.float64))[1].astype(np.int64)
    exponents = np.maximum(0, bit_lengths - 1 - mantissa_bits)
    return (exponents << mantissa_bits) + (counts >> exponents)


def _range_counts(codes: _CodecCounts, mantissa_bits: int) -> _CodecCounts:
    """Middle of the counts that have these codes."""
    exponents = np.maximum(0, (codes >> mantissa_bits) - 1)
    return ((codes - (exponents << mantissa_bits)) << exponents) + ((1 << exponents) >> 1)


def _leb128(number: int) -> bytes:
    return bytes(_leb128_digits(number))


def _leb128_digits(number: int) -> Iterator[int]:
    while number >= 0x80:
        yield number & 0x7F | 0x80
        number >>= 7
    yield number


def _read_leb128(data: memoryview) -> tuple[int, memoryview]:
    number = 0
    for place, digit in enumerate(data[:5]):
        number |= (digit & 0x7F) << (7 * place)
        if digit < 0x80:
            return number, data[place + 1 :]
    raise MalformedError("a number of a range payload does not end")
