r"""The file format: what it holds, in which streams, and a digest over all of it. No pickle, nothing that runs.

    offset  bytes
         0      8   magic "FAIRWAY\0"
         8      2   version (1)          all numbers little-endian
        10      4   bytes of the stored header
        14      4   bytes of the header's JSON
        18      .   header: UTF-8 JSON, deflated (zlib)
         .      .   streams, in the header's order, back to back
       -32     32   SHA-256 of everything before

The header is one object with exactly these keys (``schemas/artifact.schema.json`` says the same)::

    {"extra":    {...},                                      free: recipe digest, seed, whatever a run adds
     "rotation": null | {"kind": "hadamard", "seed": 20260416},
     "streams":  [{"name": "query", "codec": "range", "size": 8123, "raw_size": 16384}, ...],
     "tensors":  [{"name": "blocks.0.q", "shape": [64, 64], "role": "query", "bits": 6, "stream": "query"}, ...]}

A matrix of 2 to 8 bits has int8 symbols in the stream of its role and one step a row, a half, in the stream
``steps``; a tensor of 16 bits, of whatever role, is kept as halves in the stream ``control``. ``packing`` says in
which order.

The reader is strict, and bounded: a hostile header can make it refuse, not allocate.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, TypeGuard

from fairway.errors import ArtifactError, MalformedError
from fairway.quant.codecs import STORED_CODECS, StoredCodec
from fairway.quant.packing import StoredTensor, raw_sizes
from fairway.quant.plan import KEPT_BITS
from fairway.spec.quant import Hadamard, NoRotation
from fairway.spec.roles import Role, is_named, role_of

ARTIFACT_MAGIC = b"FAIRWAY\0"
ARTIFACT_VERSION = 1

_ARTIFACT_PREFIX = struct.Struct("<8sHII")
_ARTIFACT_DIGEST_BYTES = 32
_ARTIFACT_HEADER_CAP = 1 << 20
_ARTIFACT_VALUES_CAP = 1 << 26
_ARTIFACT_TENSORS_CAP = 4096
_ARTIFACT_AXES_CAP = 4


@dataclass(frozen=True, slots=True)
class StoredStream:
    """One stream: its codec and its compressed bytes."""

    name: str
    codec: StoredCodec
    payload: bytes
    raw_size: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file's whole content; ``write_artifact`` and ``read_artifact`` are inverse to each other."""

    tensors: tuple[StoredTensor, ...]
    streams: tuple[StoredStream, ...]
    rotation: NoRotation | Hadamard
    extra: Mapping[str, Any]

    def header(self) -> dict[str, Any]:
        """The header as the file holds it."""
        rotation = {"kind": "hadamard", "seed": self.rotation.seed} if isinstance(self.rotation, Hadamard) else None
        return {
            "extra": dict(self.extra),
            "rotation": rotation,
            "streams": [
                {"name": s.name, "codec": s.codec, "size": len(s.payload), "raw_size": s.raw_size} for s in self.streams
            ],
            "tensors": [
                {"name": t.name, "shape": list(t.shape), "role": t.role.value, "bits": t.bits, "stream": t.stream}
                for t in self.tensors
            ],
        }


def write_artifact(artifact: Artifact) -> bytes:
    """The file's bytes; equal artifacts give equal bytes."""
    text = json.dumps(artifact.header(), sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    assert len(text) <= _ARTIFACT_HEADER_CAP, (len(text), _ARTIFACT_HEADER_CAP)
    stored = zlib.compress(text, 9)
    prefix = _ARTIFACT_PREFIX.pack(ARTIFACT_MAGIC, ARTIFACT_VERSION, len(stored), len(text))
    body = b"".join([prefix, stored, *(stream.payload for stream in artifact.streams)])
    return body + hashlib.sha256(body).digest()


def read_artifact(data: bytes) -> Artifact:
    """The artifact that ``write_artifact`` made of these bytes of; ``ArtifactError`` for anything else."""
    smallest = _ARTIFACT_PREFIX.size + _ARTIFACT_DIGEST_BYTES
    if len(data) < smallest:
        _artifact_refuse(f"must have at least {smallest} bytes, got {len(data)}")
    magic, version, stored_size, text_size = _ARTIFACT_PREFIX.unpack_from(data)
    if magic != ARTIFACT_MAGIC:
        _artifact_refuse(f"must begin with {ARTIFACT_MAGIC!r}, got {magic!r}")
    if version != ARTIFACT_VERSION:
        _artifact_refuse(f"version must be {ARTIFACT_VERSION}, got {version}")
    body, digest = data[:-_ARTIFACT_DIGEST_BYTES], data[-_ARTIFACT_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        raise ArtifactError(
            "artifact SHA-256 of its content differs from the one at its end; it is truncated or damaged"
        )
    start = _ARTIFACT_PREFIX.size
    header = _artifact_header(body[start : start + stored_size], stored_size, text_size)
    tensors = _artifact_tensors(header["tensors"])
    streams = _artifact_streams(header["streams"], body[start + stored_size :], raw_sizes(tensors))
    return Artifact(tensors, streams, _artifact_rotation(header["rotation"]), header["extra"])


def _artifact_refuse(reason: str) -> NoReturn:
    raise MalformedError(f"artifact {reason}")


def _artifact_header(stored: bytes, stored_size: int, text_size: int) -> dict[str, Any]:
    if not 0 < text_size <= _ARTIFACT_HEADER_CAP:
        _artifact_refuse(f"header must be 1..{_ARTIFACT_HEADER_CAP} bytes, got {text_size}")
    if len(stored) != stored_size:
        _artifact_refuse(f"header must have {stored_size} stored bytes, got {len(stored)}")
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(stored, text_size + 1)
        if not inflate.eof or inflate.unused_data or len(text) != text_size:
            _artifact_refuse(f"header does not inflate to {text_size} bytes")
        # RecursionError: brackets within brackets, thousands of them
        header = json.loads(text.decode(), parse_constant=_artifact_no_constant)
    except (zlib.error, ValueError, RecursionError) as error:
        raise MalformedError(f"artifact header is not deflated JSON: {str(error)[:200]}") from error
    fields = _artifact_object(header, {"extra", "rotation", "streams", "tensors"}, "header")
    if not isinstance(fields["extra"], dict):
        _artifact_refuse("header's extra must be an object")
    return fields


def _artifact_no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _artifact_object(value: object, keys: set[str], what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or value.keys() != keys:
        _artifact_refuse(f"{what} must be an object with keys {', '.join(sorted(keys))}")
    return value


def _artifact_list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list) or len(value) > _ARTIFACT_TENSORS_CAP:
        _artifact_refuse(f"{what} must be a list of at most {_ARTIFACT_TENSORS_CAP}")
    return value


def _artifact_is_count(value: object, most: int) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= most


def _artifact_tensors(listed: object) -> tuple[StoredTensor, ...]:
    tensors = tuple(_artifact_tensor(entry) for entry in _artifact_list(listed, "tensors"))
    if len({tensor.name for tensor in tensors}) != len(tensors):
        _artifact_refuse("names a tensor twice")
    values = sum(tensor.count for tensor in tensors)
    if values > _ARTIFACT_VALUES_CAP:
        _artifact_refuse(f"may hold at most {_ARTIFACT_VALUES_CAP} values, its header speaks of {values}")
    return tensors


def _artifact_tensor(entry: object) -> StoredTensor:
    fields = _artifact_object(entry, {"name", "shape", "role", "bits", "stream"}, "tensor")
    name, shape, bits = fields["name"], fields["shape"], fields["bits"]
    stream = Role.CONTROL.value if bits == KEPT_BITS else fields["role"]
    named = isinstance(name, str) and is_named(name) and fields["role"] == role_of(name).value
    if not named or fields["stream"] != stream:
        _artifact_refuse(f"tensor {str(name)[:80]!r} must have the role and the stream that its name says")
    role = role_of(name)
    if not isinstance(shape, list) or not 1 <= len(shape) <= _ARTIFACT_AXES_CAP:
        _artifact_refuse(f"tensor {name} must have 1..{_ARTIFACT_AXES_CAP} axes")
    if not all(_artifact_is_count(axis, _ARTIFACT_VALUES_CAP) and axis > 0 for axis in shape):
        _artifact_refuse(f"tensor {name} must have positive sizes, none above {_ARTIFACT_VALUES_CAP}")
    is_symbols = role is not Role.CONTROL and len(shape) == 2
    if type(bits) is not int or not (bits == KEPT_BITS or (is_symbols and 2 <= bits <= 8)):
        _artifact_refuse(
            f"tensor {name} must be kept in {KEPT_BITS} bits or be a matrix of 2..8 bits, as its role says"
        )
    return StoredTensor(name, tuple(shape), role, bits)


def _artifact_streams(listed: object, body: bytes, sizes: Mapping[str, int]) -> tuple[StoredStream, ...]:
    streams, start = [], 0
    for entry in _artifact_list(listed, "streams"):
        fields = _artifact_object(entry, {"name", "codec", "size", "raw_size"}, "stream")
        name, codec, size, raw_size = fields["name"], fields["codec"], fields["size"], fields["raw_size"]
        if not isinstance(name, str) or name not in sizes:
            _artifact_refuse(f"stream {str(name)[:80]!r} belongs to no tensor")
        if codec not in STORED_CODECS:
            _artifact_refuse(f"stream {name} must have a codec of {', '.join(STORED_CODECS)}, got {str(codec)[:80]!r}")
        if type(raw_size) is not int or raw_size != sizes[name]:
            _artifact_refuse(
                f"stream {name} must unpack to {sizes[name]} bytes, as the shapes say, not {str(raw_size)[:80]}"
            )
        if not _artifact_is_count(size, len(body) - start):
            _artifact_refuse(f"stream {name} must lie within the file, got a size of {str(size)[:80]}")
        streams.append(StoredStream(name, codec, body[start : start + size], raw_size))
        start += size
    if start != len(body):
        _artifact_refuse(f"has {len(body) - start} bytes that belong to no stream")
    if sorted(stream.name for stream in streams) != sorted(sizes):
        _artifact_refuse(f"must have the streams {', '.join(sizes)}, once each")
    return tuple(streams)


def _artifact_rotation(entry: object) -> NoRotation | Hadamard:
    if entry is None:
        return NoRotation()
    fields = _artifact_object(entry, {"kind", "seed"}, "rotation")
    if fields["kind"] != "hadamard" or type(fields["seed"]) is not int:
        _artifact_refuse("rotation must be null or of kind hadamard with a seed")
    return Hadamard(seed=fields["seed"])
