import copy
import hashlib
import json
import random
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import ArtifactError
from fairway.quant.artifact import Artifact, StoredStream, read_artifact, write_artifact
from fairway.quant.codecs import compress
from fairway.quant.packing import StoredTensor, raw_sizes, value_bytes
from fairway.quant.pipeline import unpack
from fairway.spec.quant import Grid, Hadamard, NoRotation, QuantSpec
from fairway.spec.roles import Role

TENSORS = (
    StoredTensor("embedding", (6, 4), Role.EMBEDDING, 7),
    StoredTensor("blocks.0.q", (4, 4), Role.QUERY, 6),
    StoredTensor("attn_scale", (1, 4), Role.CONTROL, 16),
)
GRID = Grid(bits=6, clip_sigmas=12.0)
PLAIN = QuantSpec(attention=GRID, mlp=GRID, embedding=GRID)
EXTRA = {"recipe_sha256": "ab" * 32, "seed": 3, "note": "é"}


def example(codec: str = "range") -> Artifact:
    streams = []
    for name, size in raw_sizes(TENSORS).items():
        raw = bytes([1, 2, 0, 255] * size)[:size] if value_bytes(name) == 1 else b"\x00\x3c" * (size // 2)
        streams.append(
            StoredStream(name, *compress(replace(PLAIN, codec=codec), raw, value_bytes=value_bytes(name)), size)
        )
    return Artifact(TENSORS, tuple(streams), Hadamard(seed=5), EXTRA)


def file_with(header: object, body: bytes | None = None, text: bytes | None = None) -> bytes:
    """A file whose outside is in order, around any header."""
    text = json.dumps(header).encode() if text is None else text
    stored = zlib.compress(text)
    data = struct.pack("<8sHII", b"FAIRWAY\0", 1, len(stored), len(text)) + stored
    data += b"".join(s.payload for s in example().streams) if body is None else body
    return data + hashlib.sha256(data).digest()


def sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


@pytest.mark.parametrize("codec", ["range", "brotli", "zstd", "lzma", "smallest"])
def test_what_was_written_is_read(codec, by):
    artifact = example(codec)
    data = write_artifact(artifact)
    assert read_artifact(data) == artifact
    assert write_artifact(read_artifact(data)) == data
    state, header = unpack(data, by(codec))
    assert header == artifact.header()
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == {t.name: t.shape for t in TENSORS}


def test_the_published_schema_accepts_what_is_written():
    schema = json.loads((Path(__file__).parents[2] / "schemas" / "artifact.schema.json").read_text())
    for artifact in (example(), Artifact((), (), NoRotation(), {})):
        jsonschema.validate(artifact.header(), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(example().header() | {"more": 1}, schema)


def test_an_artifact_without_rotation_and_tensors_is_one_too():
    artifact = Artifact((), (), NoRotation(), {})
    assert read_artifact(write_artifact(artifact)) == artifact


def test_every_single_flipped_bit_and_every_truncation_is_refused():
    data = write_artifact(example())
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        with pytest.raises(ArtifactError):
            read_artifact(bytes(flipped))
        with pytest.raises(ArtifactError):
            read_artifact(data[:place])
    with pytest.raises(ArtifactError):
        read_artifact(data + b"\0")


@pytest.mark.parametrize("codec", ["range", "brotli", "zstd", "lzma"])
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), flips=st.integers(0, 4), cut=st.integers(0, 60))
def test_damage_under_a_digest_that_fits_is_refused_or_read_but_never_anything_else(codec, seed, flips, cut, by):
    draw = random.Random(seed)
    body = bytearray(write_artifact(example(codec))[:-32])
    del body[len(body) - cut :]
    for _ in range(flips):
        body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
    try:
        unpack(sealed(bytes(body)), by("range"))
    except ArtifactError as error:
        assert "\n" not in str(error)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_in_any_place_of_the_header_is_refused_or_read_but_never_anything_else(data, by):
    header = copy.deepcopy(example().header())
    place, key = header, data.draw(st.sampled_from(["streams", "tensors", "rotation", "extra"]))
    while isinstance(place[key], dict | list) and len(place[key]) and data.draw(st.booleans()):
        place = place[key]
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
    if data.draw(st.booleans()):
        place[key] = data.draw(JSON)
    elif isinstance(place, dict):
        del place[key]
    try:
        unpack(file_with(header), by("range"))
    except ArtifactError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(noise=st.binary(max_size=80))
def test_noise_is_refused(noise, by):
    for data in (noise, sealed(noise), sealed(b"FAIRWAY\0" + noise), file_with(None, text=noise)):
        with pytest.raises(ArtifactError):
            unpack(data, by("range"))


def changed(path: list[object], value: object) -> dict[str, object]:
    header = copy.deepcopy(example().header())
    place = header
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return header


@pytest.mark.parametrize(
    "path, value, message",
    [
        (["tensors", 0, "shape"], [2**13, 2**14], "at most 67108864 values"),
        (["tensors", 2, "shape"], [2**26] * 4, "at most 67108864 values"),
        (["tensors", 0, "shape"], [-6, -4], "positive sizes"),
        (["tensors", 0, "shape"], [True, 4], "positive sizes"),
        (["tensors", 0, "shape"], [24], "matrix of 2..8 bits"),
        (["tensors", 0, "shape"], [1] * 9, "1..4 axes"),
        (["tensors", 0, "bits"], 16, "the role and the stream"),
        (["tensors", 0, "bits"], 9, "matrix of 2..8 bits"),
        (["tensors", 2, "bits"], 8, "kept in 16 bits"),
        (["tensors", 0, "role"], "query", "role and the stream that its name says"),
        (["tensors", 0, "stream"], "query", "role and the stream that its name says"),
        (["tensors", 0, "name"], "lm_head", "role and the stream that its name says"),
        (["tensors", 1], {"name": "embedding"}, "keys bits, name, role, shape, stream"),
        (["tensors"], example().header()["tensors"] * 2, "names a tensor twice"),
        (["tensors"], [0] * 5000, "list of at most 4096"),
        (["streams", 0, "size"], 10**9, "within the file"),
        (["streams", 0, "size"], -1, "within the file"),
        (["streams", 0, "raw_size"], 10**9, "unpack to 24 bytes"),
        (["streams", 0, "codec"], "pickle", "codec of range, brotli, zstd, lzma"),
        (["streams", 0, "name"], "query", "unpack to 16 bytes"),
        (["streams", 0, "name"], "value", "belongs to no tensor"),
        (["streams"], [], "belong to no stream"),
        (["rotation"], {"kind": "learned", "seed": 1}, "kind hadamard"),
        (["extra"], [], "extra must be an object"),
        (["more"], 1, "keys extra, rotation, streams, tensors"),
    ],
)
def test_a_header_that_lies_is_refused_for_what_it_says(path, value, message):
    with pytest.raises(ArtifactError, match=message.replace(".", r"\.")):
        read_artifact(file_with(changed(path, value)))


def test_headers_that_are_bombs_are_refused():
    deep, long = b"[" * 100_000, b" " * 2_000_000 + b"{}"
    for text in (deep, long, b"9" * 10_000, b'{"extra": NaN}', b"\xff", b""):
        with pytest.raises(ArtifactError):
            read_artifact(file_with(None, text=text))
    understated = bytearray(file_with(None, text=long))
    understated[14:18] = struct.pack("<I", 100)
    with pytest.raises(ArtifactError, match="does not inflate to 100 bytes"):
        read_artifact(sealed(bytes(understated[:-32])))


def test_what_it_is_not_is_said():
    good = write_artifact(example())
    with pytest.raises(ArtifactError, match="at least 50 bytes, got 3"):
        read_artifact(good[:3])
    with pytest.raises(ArtifactError, match="must begin with"):
        read_artifact(b"PK" + good[2:])
    with pytest.raises(ArtifactError, match="version must be 1, got 9"):
        read_artifact(good[:8] + b"\x09" + good[9:])
    with pytest.raises(ArtifactError, match="SHA-256"):
        read_artifact(good[:-1])


def test_values_that_no_writer_writes_are_refused(by):
    tensors = TENSORS[1:2]
    symbols_beyond, steps_of_zero = (bytes([32]) * 16, b"\x00\x3c" * 4), (bytes(16), b"\x00\x00" * 4)
    for symbols, steps in (symbols_beyond, steps_of_zero):
        streams = tuple(
            StoredStream(name, *compress(by("brotli"), raw, value_bytes=value_bytes(name)), len(raw))
            for name, raw in (("query", symbols), ("steps", steps))
        )
        with pytest.raises(ArtifactError, match="holds values that its"):
            unpack(write_artifact(Artifact(tensors, streams, NoRotation(), {})), by("brotli"))
