"""zlib streams: what comes back, and what is refused."""

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.errors import ArtifactError
from fairway.quant.deflate import deflated, inflated


@pytest.mark.parametrize("value_bytes", [1, 2])
@settings(deadline=None)
@given(raw=st.binary(max_size=400))
def test_what_was_deflated_comes_back(value_bytes, raw):
    raw = raw[: len(raw) // value_bytes * value_bytes]
    payload = deflated(raw, value_bytes)
    assert inflated(payload, len(raw), value_bytes) == raw
    for wrong in (len(raw) + value_bytes, len(raw) - value_bytes):
        if wrong >= 0:
            with pytest.raises(ArtifactError):
                inflated(payload, wrong, value_bytes)


@settings(deadline=None)
@given(st.binary(max_size=60), st.integers(0, 50))
def test_noise_is_refused_or_read_as_it_says(noise, size):
    try:
        assert len(inflated(noise, size, 1)) == size
    except ArtifactError as error:
        assert "zlib" in str(error)


def test_a_payload_of_many_zeros_is_not_blown_up():
    with pytest.raises(ArtifactError, match="must hold 10 bytes"):
        inflated(zlib.compress(bytes(10_000_000)), 10, 1)


def test_halves_go_by_planes():
    halves = bytes(range(256)) * 40
    shuffled = b"".join(bytes([place % 256, 60]) for place in range(5000))
    assert zlib.decompress(deflated(shuffled, 2)) == shuffled[::2] + shuffled[1::2]
    assert len(deflated(shuffled, 2)) < len(zlib.compress(shuffled, 9))
    assert inflated(deflated(halves, 2), len(halves), 2) == halves
