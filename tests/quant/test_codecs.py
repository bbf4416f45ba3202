import lzma
import random
import tracemalloc

import brotli
import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import ArtifactError
from fairway.quant.codecs import LONG_STREAM_BYTES, compress, decompress
from fairway.quant.codecs import STORED_CODECS as EVERY_CODEC

STORED_CODECS = EVERY_CODEC[:4]
ANY_BYTES = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda b, n: bytes([b]) * n, st.integers(0, 255), st.integers(0, 3000)),
    st.builds(
        lambda seed, n: bytes(random.Random(seed).choices(range(120, 135), k=n)), st.integers(), st.integers(0, 3000)
    ),
)


def gaussian_symbols(count: int, sigma: float, seed: int = 0) -> bytes:
    return np.clip(np.rint(np.random.default_rng(seed).normal(0, sigma, count)), -31, 31).astype(np.int8).tobytes()


def entropy_bytes(raw: bytes) -> float:
    counts = np.bincount(np.frombuffer(raw, np.uint8))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum() * len(raw) / 8)


@pytest.mark.parametrize("codec", [*STORED_CODECS, "smallest"])
@pytest.mark.parametrize("value_bytes", [1, 2])
@settings(max_examples=40, deadline=None)
@given(raw=ANY_BYTES)
def test_what_was_compressed_comes_back(codec, value_bytes, raw, by):
    raw = raw[: len(raw) // value_bytes * value_bytes]
    stored, payload = compress(by(codec), raw, value_bytes=value_bytes)
    assert stored in STORED_CODECS if codec == "smallest" else stored == codec
    assert decompress(by(codec), stored, payload, raw_size=len(raw), value_bytes=value_bytes) == raw
    assert compress(by(codec), raw, value_bytes=value_bytes) == (stored, payload)


def test_all_256_symbols_and_skewed_counts_come_back_from_range_coding(by):
    raw = bytes(range(256)) + bytes([7]) * 200_000 + bytes(range(256)) * 3
    for value_bytes in (1, 2):
        _, payload = compress(by("range"), raw, value_bytes=value_bytes)
        assert decompress(by("range"), "range", payload, raw_size=len(raw), value_bytes=value_bytes) == raw


@pytest.mark.parametrize("count", [5_000, 60_000, 1_000_000])
def test_range_coding_takes_the_entropy_and_less_than_a_byte_and_a_half_a_symbol_of_table(count, by):
    raw = gaussian_symbols(count, 2.6)
    _, payload = compress(by("range"), raw, value_bytes=1)
    table = 1.5 * len(set(raw))
    assert entropy_bytes(raw) <= len(payload) <= 1.0005 * entropy_bytes(raw) + table + 16


def test_smallest_is_the_smallest(by):
    for raw in (gaussian_symbols(20_000, 2.6), b"ab" * 5000, gaussian_symbols(300, 9.0) * 30):
        sizes = [len(compress(by(codec), raw, value_bytes=1)[1]) for codec in ("range", "brotli")]
        assert len(compress(by("smallest"), raw, value_bytes=1)[1]) == min(sizes)


def test_noise_is_stored_with_a_byte_on_top(by):
    raw = random.Random(0).randbytes(4096)
    assert len(compress(by("range"), raw, value_bytes=1)[1]) == len(raw) + 1


def test_byte_planes_make_steps_of_rows_smaller_with_every_codec(by):
    scales = np.repeat([2e-3, 4e-3, 2e-2], 700)
    halves = (scales * np.exp(np.random.default_rng(0).normal(0, 0.2, 2100))).astype("<f2").tobytes()
    for codec in STORED_CODECS:
        assert len(compress(by(codec), halves, value_bytes=2)[1]) < len(compress(by(codec), halves, value_bytes=1)[1])


@pytest.mark.parametrize("codec", STORED_CODECS)
@pytest.mark.parametrize("value_bytes", [1, 2])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(0, 400), flips=st.integers(0, 4), tail=st.binary(max_size=6))
def test_damaged_payloads_are_refused_or_give_as_many_bytes_as_expected(codec, value_bytes, seed, cut, flips, tail, by):
    draw = random.Random(seed)
    raw = gaussian_symbols(draw.choice([2, 64, 1000]), 2.0, seed)
    payload = bytearray(compress(by(codec), raw, value_bytes=value_bytes)[1])
    del payload[len(payload) - min(cut, len(payload)) :]
    for _ in range(flips if payload else 0):
        payload[draw.randrange(len(payload))] ^= 1 << draw.randrange(8)
    try:
        back = decompress(by(codec), codec, bytes(payload) + tail, raw_size=len(raw), value_bytes=value_bytes)
    except ArtifactError:
        return
    assert len(back) == len(raw)


@pytest.mark.parametrize("codec", STORED_CODECS)
@settings(max_examples=80, deadline=None)
@given(payload=st.binary(max_size=60), raw_size=st.integers(0, 1000))
def test_noise_is_refused_or_gives_as_many_bytes_as_expected(codec, payload, raw_size, by):
    try:
        back = decompress(by(codec), codec, payload, raw_size=2 * raw_size, value_bytes=2)
    except ArtifactError:
        return
    assert len(back) == 2 * raw_size


def test_bombs_are_refused_before_they_go_off(by):
    zeros = bytes(50_000_000)
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 1, "dict_size": 4096, "lc": 0, "pb": 0}]
    bombs = {
        "brotli": brotli.compress(zeros, quality=1),
        "zstd": zstandard.ZstdCompressor(level=1, write_content_size=False).compress(zeros),
        "lzma": lzma.compress(zeros, format=lzma.FORMAT_RAW, filters=filters),
    }
    for codec, bomb in bombs.items():
        assert len(bomb) < 100_000
        tracemalloc.start()
        with pytest.raises(ArtifactError, match=codec):
            decompress(by(codec), codec, bomb, raw_size=1000, value_bytes=1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000


def test_a_zstd_frame_that_names_its_own_size_is_refused(by):
    with pytest.raises(ArtifactError, match="names its own size"):
        decompress(by("zstd"), "zstd", zstandard.compress(bytes(100)), raw_size=100, value_bytes=1)


def test_other_sizes_than_expected_are_refused(by):
    raw = gaussian_symbols(1000, 2.0)
    for codec in STORED_CODECS:
        payload = compress(by(codec), raw, value_bytes=1)[1]
        for wrong in (0, 1, 2000):
            with pytest.raises(ArtifactError):
                decompress(by(codec), codec, payload, raw_size=wrong, value_bytes=1)


@pytest.mark.parametrize("codec", ["zstd", "lzma"])
def test_a_stream_by_a_codec_that_the_recipe_does_not_name_is_refused(codec, by):
    payload = compress(by(codec), bytes(100), value_bytes=1)[1]
    with pytest.raises(ArtifactError, match=f"the recipe packs by smallest, a stream is packed by {codec}"):
        decompress(by("smallest"), codec, payload, raw_size=100, value_bytes=1)


def test_smallest_tries_brotli_on_no_long_stream(by):
    short = b"ab" * 1000
    long = short * (LONG_STREAM_BYTES // len(short) + 1)
    codecs = [compress(by("smallest"), raw, value_bytes=1)[0] for raw in (short, long)]
    assert codecs == ["brotli", "range"]
    assert compress(by("brotli"), long, value_bytes=1)[0] == "brotli"
