"""A self-extracting program to the program inside it, by decoding alone; nothing of it is run.

A stub is a Python file that executes one long constant. Which decoders it names is read from its syntax tree; those are
applied here to the constant, each bounded, until the text is a program that executes no constant any more.
"""

import ast
import base64
import binascii
import bz2
import lzma
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

try:
    import brotli  # type: ignore[import-untyped]
except ImportError:  # the judge may run where nothing is installed; a stub that needs it is then unverifiable
    brotli = None

MOST_LAYERS = 4
SOURCE_LIMIT_BYTES = 2_000_000
"""No program of a submission is longer; what unpacks to more is refused before it is unpacked."""

_RUNNERS = frozenset({"exec", "eval"})
_STUB_SHARE = 0.5
_B85 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_FROM_Z85 = bytes.maketrans(_Z85, _B85)
_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "b85decode": base64.b85decode,
    "a85decode": base64.a85decode,
    "z85decode": lambda text: base64.b85decode(text.translate(_FROM_Z85)),
    "b64decode": lambda text: base64.b64decode(text, validate=True),
}
_CODING = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*(?!utf-?8)[-\w.]+", re.IGNORECASE)


class CannotUnpack(ValueError):
    """The file is no Python, or executes what cannot be had by decoding."""


class NotPython(CannotUnpack):
    """The file, or what it unpacks to, cannot be parsed."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a file runs in the end."""

    text: str
    layers: tuple[str, ...]
    """Decoders that led there, outermost first; empty where the file is its own source."""


def unpack(data: bytes) -> Program:
    """The program that ``data`` runs; ``CannotUnpack`` says why there is none to be seen."""
    layers: list[str] = []
    for _ in range(MOST_LAYERS + 1):
        text, tree = _parsed(data)
        payload = _payload(tree, len(data))
        if payload is None:
            return Program(text, tuple(layers))
        data, decoders = _decoded(payload, _names(tree))
        layers.append(decoders)
    raise CannotUnpack(f"is packed more than {MOST_LAYERS} times")


def _parsed(data: bytes) -> tuple[str, ast.Module]:
    if len(data) > SOURCE_LIMIT_BYTES:
        raise CannotUnpack(f"has {len(data)} bytes, no program has more than {SOURCE_LIMIT_BYTES}")
    if any(_CODING.match(line) for line in data.split(b"\n", 2)[:2]):
        raise CannotUnpack("declares an encoding other than UTF-8")
    try:
        text = data.decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return text, ast.parse(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise NotPython(f"is no Python: {type(error).__name__}: {str(error)[:80]}") from error


def _names(tree: ast.Module) -> frozenset[str]:
    """Every identifier of a program, those of its imports included."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found.update(node.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            found.update((node.module or "").split("."))
    return frozenset(found)


def _payload(tree: ast.Module, size_bytes: int) -> bytes | None:
    """The constant that a stub executes: it fills most of the file; None where nothing is executed."""
    runs = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _RUNNERS
    ]
    if not runs:
        return None
    constants = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    texts = [value.encode("utf-8", "replace") if isinstance(value, str) else value for value in constants]
    longest = max((text for text in texts if isinstance(text, bytes)), key=len, default=b"")
    if len(longest) < _STUB_SHARE * size_bytes:
        raise CannotUnpack(f"calls exec or eval in line {runs[0]}, and not on a constant that fills the file")
    return longest


def _decoded(payload: bytes, names: frozenset[str]) -> tuple[bytes, str]:
    """The program inside a payload, and by which decoders."""
    encoders = [(name, decode) for name, decode in _ENCODERS.items() if name in names] or [("plain", bytes)]
    for (encoding, decode), (codec, expand) in product(encoders, list(_expanders(names))):
        try:
            found = expand(decode(payload))
            _parsed(found)
        except (ValueError, EOFError, binascii.Error, lzma.LZMAError, zlib.error, OSError, MemoryError):
            continue
        if found.strip():
            return found, f"{encoding} {codec}"
    wanted = sorted(name for name in names if name in _ENCODERS or name in ("lzma", "zlib", "bz2", "brotli"))
    raise CannotUnpack(f"executes a constant that {', '.join(wanted) or 'no decoder named in it'} does not decode")


def _expanders(names: frozenset[str]) -> Iterator[tuple[str, Callable[[bytes], bytes]]]:
    """Decompressors that a stub names, with every parameter that a raw stream does not carry itself."""
    if "lzma" in names:
        yield "lzma", lambda data: _bounded(lzma.LZMADecompressor(lzma.FORMAT_AUTO), data)
        yield "lzma2", lambda data: _bounded(_raw_lzma(id=lzma.FILTER_LZMA2), data)
        for lc, lp, pb in product(range(5), range(5), range(5)):
            if lc + lp <= 4:
                yield "lzma1", _lzma1(lc, lp, pb)
    if "zlib" in names:
        for window in (15, -15, 31):
            yield "zlib", _zlib(window)
    if "bz2" in names:
        yield "bz2", lambda data: _bounded(bz2.BZ2Decompressor(), data)
    if "brotli" in names and brotli is not None:
        yield "brotli", _brotli
    if not names & {"lzma", "zlib", "bz2", "brotli"}:
        yield "plain", bytes


def _raw_lzma(**chain: int) -> lzma.LZMADecompressor:
    # Distances reach no further back than the bound of what comes out.
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[{"dict_size": 1 << 21, **chain}])


def _lzma1(lc: int, lp: int, pb: int) -> Callable[[bytes], bytes]:
    return lambda data: _bounded(_raw_lzma(id=lzma.FILTER_LZMA1, lc=lc, lp=lp, pb=pb), data)


def _zlib(window: int) -> Callable[[bytes], bytes]:
    return lambda data: _bounded(zlib.decompressobj(window), data)


def _bounded(decoder: Any, data: bytes) -> bytes:
    found: bytes = decoder.decompress(data, SOURCE_LIMIT_BYTES + 1)
    if not decoder.eof or decoder.unused_data:
        raise ValueError("does not end where it should")
    return found


def _brotli(data: bytes) -> bytes:
    decoder = brotli.Decompressor()
    try:
        found: bytes = decoder.process(data, output_buffer_limit=SOURCE_LIMIT_BYTES + 1)
    except brotli.error as error:
        raise ValueError("not a brotli stream") from error
    if not decoder.is_finished():
        raise ValueError("does not end where it should")
    return found


@lru_cache(maxsize=64)
def repacked(text: str) -> bytes:
    """The smallest file that runs a program as it is written: the text itself, or a self-extracting one.

    What is made here is decoded again to see that it holds the text, and never run.
    """
    raw = text.encode("utf-8")
    chain = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": 3, "lp": 0, "pb": 0}]
    stream = lzma.compress(raw, lzma.FORMAT_RAW, filters=chain)
    filters = "[dict(id=0x4000000000000001,lc=3,lp=0,pb=0)]"
    made = [(f'import lzma,base64 as b\nexec(lzma.decompress(b.b85decode("{{}}"),3,filters={filters}))', stream)]
    held = [_lzma1(lc=3, lp=0, pb=0)(stream) == raw]
    if brotli is not None:
        smaller = brotli.compress(raw, mode=brotli.MODE_TEXT, quality=11, lgwin=24)
        made.append(('import brotli,base64 as b\nexec(brotli.decompress(b.b85decode("{}")))', smaller))
        held.append(_brotli(smaller) == raw)
    files = [stub.replace("{}", base64.b85encode(payload).decode()).encode() for stub, payload in made]
    return min([raw, *(file for file, holds in zip(files, held, strict=True) if holds)], key=len)
