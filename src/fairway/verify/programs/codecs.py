"""The decoders that a program may unpack itself with, each bounded in what it takes and gives."""

import base64
import binascii
import bz2
import codecs
import json
import lzma
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

try:
    import brotli  # type: ignore[import-untyped]
except ImportError:  # the judge may run where nothing is installed; a program that needs it is then hidden
    brotli = None

LIMIT_BYTES = 2_000_000
"""No program of a submission is longer; a decoder stops here."""
LZMA_MEMORY_BYTES = 1 << 28
_B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_FROM_Z85 = bytes.maketrans(_Z85, _B85)


class CannotDecode(ValueError):
    """The bytes are not what the decoder takes, or hold more than a program may."""


def _raw(data: Any) -> bytes:
    if isinstance(data, str):
        data = data.encode("ascii")
    if not isinstance(data, bytes):
        raise CannotDecode("no bytes")
    if len(data) > 2 * LIMIT_BYTES:
        raise CannotDecode(f"{len(data)} bytes are more than a program may hold")
    return data


def _bounded(decoder: Any, data: bytes) -> bytes:
    found: bytes = decoder.decompress(data, LIMIT_BYTES + 1)
    if len(found) > LIMIT_BYTES:
        raise CannotDecode(f"unpacks to more than {LIMIT_BYTES} bytes")
    if not decoder.eof:
        raise CannotDecode("ends too early")
    return found


def unlzma(data: Any, format: int = lzma.FORMAT_AUTO, memlimit: Any = None, filters: Any = None) -> bytes:
    """What ``lzma.decompress`` gives."""
    if format == lzma.FORMAT_RAW:
        decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[_filter(one) for one in filters or ()])
    else:
        decoder = lzma.LZMADecompressor(format, memlimit=LZMA_MEMORY_BYTES)
    return _bounded(decoder, _raw(data))


def _filter(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise CannotDecode("no filter of lzma")
    kept = {key: value for key, value in given.items() if key in ("id", "lc", "lp", "pb", "dist")}
    if kept.get("id") in (lzma.FILTER_LZMA1, lzma.FILTER_LZMA2):
        # Distances reach no further back than the bound of what comes out, whatever dictionary is asked for.
        kept["dict_size"] = 1 << 21
    return kept


def unzlib(data: Any, wbits: int = 15, bufsize: int = 0) -> bytes:
    """What ``zlib.decompress`` gives."""
    return _bounded_zlib(_raw(data), wbits)


def _bounded_zlib(data: bytes, wbits: int) -> bytes:
    decoder = zlib.decompressobj(wbits)
    found = decoder.decompress(data, LIMIT_BYTES + 1)
    if len(found) > LIMIT_BYTES or not decoder.eof:
        raise CannotDecode(f"unpacks to more than {LIMIT_BYTES} bytes, or ends too early")
    return found


def ungzip(data: Any) -> bytes:
    """What ``gzip.decompress`` gives of one member."""
    return _bounded_zlib(_raw(data), 31)


def unbz2(data: Any) -> bytes:
    """What ``bz2.decompress`` gives of one stream."""
    return _bounded(bz2.BZ2Decompressor(), _raw(data))


def unbrotli(data: Any) -> bytes:
    """What ``brotli.decompress`` gives."""
    if brotli is None:
        raise CannotDecode("brotli is not installed here")
    decoder = brotli.Decompressor()
    try:
        found: bytes = decoder.process(_raw(data), output_buffer_limit=LIMIT_BYTES + 1)
    except brotli.error as error:
        raise CannotDecode("no brotli stream") from error
    if not decoder.is_finished():
        raise CannotDecode(f"unpacks to more than {LIMIT_BYTES} bytes, or ends too early")
    return found


def unzstd(data: Any) -> bytes:
    """What ``zstandard.decompress`` gives of one frame."""
    raw = _raw(data)
    try:
        import zstandard  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise CannotDecode("zstandard is not installed here") from error
    try:
        with zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(raw) as stream:
            found: bytes = stream.read(LIMIT_BYTES + 1)
    except zstandard.ZstdError as error:
        raise CannotDecode("no zstd frame") from error
    if len(found) > LIMIT_BYTES:
        raise CannotDecode(f"unpacks to more than {LIMIT_BYTES} bytes")
    return found


def unz85(data: Any) -> bytes:
    """What ``base64.z85decode`` gives."""
    return base64.b85decode(_raw(data).translate(_FROM_Z85))


_NAMED: Mapping[str, Callable[[Any], Any]] = {
    "base64": lambda data: base64.b64decode(_raw(data)),
    "hex": lambda data: binascii.unhexlify(_raw(data)),
    "zlib": unzlib,
    "zip": unzlib,
    "bz2": unbz2,
    "rot13": lambda text: codecs.decode(text, "rot13") if isinstance(text, str) else None,
}


def undo(data: Any, encoding: str = "utf-8", errors: str = "strict") -> Any:
    """What ``codecs.decode`` gives."""
    name = encoding.lower().replace("_codec", "").replace("_", "").replace("-", "")
    if name in _NAMED:
        return _NAMED[name](data)
    return decode(data, encoding, errors)


def unjson(data: Any) -> Any:
    """What ``json.loads`` gives, lists as tuples."""
    return _frozen(json.loads(data if isinstance(data, str) else decode(data)))


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(part) for part in value)
    return {key: _frozen(part) for key, part in value.items()} if isinstance(value, dict) else value


SAFE_ENCODINGS = frozenset({"utf8", "ascii", "usascii", "latin1", "iso88591", "utf8sig", "cp1252", "utf16", "utf16le"})


def decode(data: Any, encoding: str = "utf-8", errors: str = "strict") -> str:
    """What ``bytes.decode`` gives, for the encodings that take no time to speak of."""
    if encoding.lower().replace("_", "").replace("-", "") not in SAFE_ENCODINGS:
        raise CannotDecode(f"encoding {encoding[:20]!r}")
    return _raw(data).decode(encoding, errors if errors in ("strict", "ignore", "replace") else "strict")


DECODERS: Mapping[str, Callable[..., Any]] = {
    "base64.b64decode": lambda data, altchars=None, validate=False: base64.b64decode(_raw(data), altchars),
    "base64.standard_b64decode": lambda data: base64.b64decode(_raw(data)),
    "base64.decodebytes": lambda data: base64.b64decode(_raw(data)),
    "base64.urlsafe_b64decode": lambda data: base64.urlsafe_b64decode(_raw(data)),
    "base64.b32decode": lambda data: base64.b32decode(_raw(data)),
    "base64.b16decode": lambda data, casefold=False: base64.b16decode(_raw(data), bool(casefold)),
    "base64.b85decode": lambda data: base64.b85decode(_raw(data)),
    "base64.a85decode": lambda data, adobe=False: base64.a85decode(_raw(data), adobe=bool(adobe)),
    "base64.z85decode": unz85,
    "binascii.unhexlify": lambda data: binascii.unhexlify(_raw(data)),
    "binascii.a2b_hex": lambda data: binascii.unhexlify(_raw(data)),
    "binascii.a2b_base64": lambda data: binascii.a2b_base64(_raw(data)),
    "bytes.fromhex": lambda text: bytes.fromhex(text),
    "bytearray.fromhex": lambda text: bytes.fromhex(text),
    "codecs.decode": undo,
    "json.loads": unjson,
    "lzma.decompress": unlzma,
    "zlib.decompress": unzlib,
    "gzip.decompress": ungzip,
    "bz2.decompress": unbz2,
    "brotli.decompress": unbrotli,
    "brotlicffi.decompress": unbrotli,
    "zstandard.decompress": unzstd,
    "zstd.decompress": unzstd,
    "pyzstd.decompress": unzstd,
    "backports.zstd.decompress": unzstd,
    "compression.zstd.decompress": unzstd,
    "compression.lzma.decompress": unlzma,
    "compression.zlib.decompress": unzlib,
    "compression.bz2.decompress": unbz2,
    "compression.gzip.decompress": ungzip,
}
"""Dotted name of a function to what does the same within bounds."""

COMPRESSIONS = tuple(name for name in DECODERS if name.endswith(".decompress"))
ERRORS: Sequence[type[Exception]] = (
    ValueError,
    EOFError,
    OSError,
    TypeError,
    OverflowError,
    MemoryError,
    lzma.LZMAError,
    zlib.error,
    binascii.Error,
    RecursionError,
)
"""What a decoder may end in when its input is not what it takes."""
