"""The header of a model artifact, read without trust and without decompressing a single weight."""

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.verify import schemas, strict_json

MAGIC = b"FAIRWAY\0"
VERSION = 1
HEADER_LIMIT_BYTES = 1 << 20
FILE_LIMIT_BYTES = 1 << 28
_PREFIX = struct.Struct("<8sHII")
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class ArtifactHeader:
    """What an artifact says of itself."""

    file: str
    fields: Mapping[str, Any]

    @property
    def extra(self) -> Mapping[str, Any]:
        """What the run added: the digest of its recipe, its seed."""
        found: Mapping[str, Any] = self.fields["extra"]
        return found


def read_artifact(path: Path, file: str) -> ArtifactHeader:
    """The header of a whole and undamaged artifact; ``ValueError`` otherwise."""
    try:
        with path.open("rb") as opened:
            data = opened.read(FILE_LIMIT_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror or type(error).__name__}") from error
    if len(data) > FILE_LIMIT_BYTES:
        raise ValueError(f"larger than {FILE_LIMIT_BYTES} bytes")
    if len(data) < _PREFIX.size + _DIGEST_BYTES or not data.startswith(MAGIC):
        raise ValueError(f"no artifact: it does not begin with {MAGIC!r}")
    _, version, stored_size, text_size = _PREFIX.unpack_from(data)
    if version != VERSION:
        raise ValueError(f"an artifact of version {version}, known is {VERSION}")
    if hashlib.sha256(data[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
        raise ValueError("its content has another SHA-256 than its last 32 bytes say: truncated or damaged")
    if text_size > HEADER_LIMIT_BYTES:
        raise ValueError(f"a header of {text_size} bytes, at most {HEADER_LIMIT_BYTES} are read")
    header = _header(data[_PREFIX.size : _PREFIX.size + stored_size], text_size)
    streams = sum(stream["size"] for stream in header["streams"])
    whole = _PREFIX.size + stored_size + streams + _DIGEST_BYTES
    if whole != len(data):
        raise ValueError(f"its streams end at byte {whole}, the file has {len(data)}")
    return ArtifactHeader(file, header)


def _header(stored: bytes, text_size: int) -> dict[str, Any]:
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(stored, text_size + 1)
    except zlib.error as error:
        raise ValueError("its header cannot be inflated") from error
    if len(text) != text_size or not inflate.eof:
        raise ValueError(f"its header does not have the {text_size} bytes that it says")
    try:
        header: Any = strict_json.parse(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError("its header is not UTF-8") from error
    wrong = schemas.violations("artifact", header, most=1)
    if wrong:
        raise ValueError(f"header: {wrong[0]}")
    found: dict[str, Any] = header
    return found
