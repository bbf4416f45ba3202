"""A program of fairway's own to its text and back: what a packed file holds, and the smallest that holds a text.

More is asked here than of a stranger's file: a program that executes anything but its one payload is refused.
"""

import base64
import lzma
from dataclasses import dataclass
from functools import lru_cache

from fairway.verify.programs.codecs import LIMIT_BYTES, unbrotli, unlzma
from fairway.verify.programs.effects import effects
from fairway.verify.programs.evaluate import CannotEvaluate
from fairway.verify.programs.unpacking import unpack as unpacked

try:
    import brotli  # type: ignore[import-untyped]
except ImportError:  # the judge may run where nothing is installed; a file is then packed by lzma alone
    brotli = None

SOURCE_LIMIT_BYTES = LIMIT_BYTES
"""No program of a submission is longer; what unpacks to more is refused before it is unpacked."""


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
    found = unpacked("train_gpt.py", data, _no_other_file)
    if found.parsed.tree is None:
        broken = not found.parsed.syntax or all(found.parsed.syntax.values())
        raise (NotPython if broken else CannotUnpack)(found.hidden)
    runs = [effect.line for effect in effects(found.parsed.tree) if effect.kind == "execute"]
    if runs:
        raise CannotUnpack(f"calls exec or eval in line {runs[0]}, and not on a constant that fills the file")
    return Program(found.text, tuple(found.layers))


def _no_other_file(path: str) -> bytes:
    raise CannotEvaluate(f"{path[:80]} is another file")


def repacked(text: str, *, enough_bytes: int = 0) -> bytes:
    """The smallest file that runs a program as it is written: the text itself, or a self-extracting one.

    Where one has no more than ``enough_bytes``, no smaller one is looked for. What is made here is decoded again to see
    that it holds the text, and never run.
    """
    best = text.encode("utf-8")
    for packed in (_by_lzma, _by_brotli):
        if len(best) <= enough_bytes:
            break
        best = min(best, packed(text) or best, key=len)
    return best


@lru_cache(maxsize=64)
def _by_lzma(text: str) -> bytes | None:
    raw = text.encode("utf-8")
    chain = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME, "lc": 3, "lp": 0, "pb": 0}]
    stream = lzma.compress(raw, lzma.FORMAT_RAW, filters=chain)
    decoder = "exec(lzma.decompress(b.b85decode({}),3,filters=[dict(id=0x4000000000000001,lc=3,lp=0,pb=0)]))"
    holds = unlzma(stream, lzma.FORMAT_RAW, filters=chain) == raw
    return _stub("lzma", decoder, stream) if holds else None


@lru_cache(maxsize=64)
def _by_brotli(text: str) -> bytes | None:
    if brotli is None:
        return None
    raw = text.encode("utf-8")
    stream = brotli.compress(raw, mode=brotli.MODE_TEXT, quality=11, lgwin=24)
    return _stub("brotli", "exec(brotli.decompress(b.b85decode({})))", stream) if unbrotli(stream) == raw else None


def _stub(module: str, decoder: str, stream: bytes) -> bytes:
    payload = f'"{base64.b85encode(stream).decode()}"'
    return f"import {module},base64 as b\n{decoder.replace('{}', payload)}".encode()
