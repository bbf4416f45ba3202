"""The per-group codec: the order of rows, what comes back, what is refused, and what happens without the program."""

import random
import struct
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.batches import Batch
from fairway.errors import ArtifactError, GateError
from fairway.quant import pergroup
from fairway.quant.artifact import read_artifact
from fairway.quant.describe import describe
from fairway.quant.hessian import collect
from fairway.quant.pergroup import has_lrzip, likeness_order, pergrouped, unpergrouped
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.streams import raw_streams
from fairway.runtime.ranks import Ranks

SHAPES = [(40, 24), (16, 32)]
needs_lrzip = pytest.mark.skipif(not has_lrzip(), reason="the program lrzip is not installed")


def symbols(seed: int, *shape: int) -> torch.Tensor:
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return (2.6 * noise).round().clamp(-31, 31).to(torch.int8)


def stream(seed: int = 0) -> bytes:
    return b"".join(symbols(seed + i, *shape).T.contiguous().numpy().tobytes() for i, shape in enumerate(SHAPES))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), rows=st.integers(1, 20), columns=st.integers(1, 6))
def test_each_row_stands_beside_the_nearest_that_was_left(seed, rows, columns):
    q = symbols(seed, rows, columns)
    values = q.tolist()
    order, left = [0], list(range(1, rows))
    while left:
        last = values[order[-1]]
        distances = [sum(abs(a - b) for a, b in zip(last, values[row], strict=True)) for row in left]
        order.append(left.pop(distances.index(min(distances))))
    assert likeness_order(q).tolist() == order


@needs_lrzip
@pytest.mark.parametrize("role", ["query", "key"])
def test_what_was_packed_comes_back_and_only_some_groups_have_orders(role, by):
    payload = pergrouped(stream(), SHAPES, role)
    assert unpergrouped(by("pergroup"), payload, SHAPES) == stream()
    assert pergrouped(stream(), SHAPES, role) == payload
    assert (struct.unpack_from("<I", payload)[0] > 0) == (role in pergroup.CHAINED_STREAMS)


@needs_lrzip
def test_what_lrzip_is_given_are_rows_in_order_transposed(by):
    payload = pergrouped(stream(), SHAPES, "query")
    size = struct.unpack_from("<I", payload)[0]
    in_order = unpergrouped(by("pergroup"), bytes(4) + payload[4 + size :], SHAPES)
    rows = [symbols(i, *shape) for i, shape in enumerate(SHAPES)]
    wanted = [q[likeness_order(q)].T.contiguous().numpy().tobytes() for q in rows]
    assert in_order == b"".join(wanted)


@needs_lrzip
def test_damage_is_refused_or_read_but_never_anything_else(by):
    payload = pergrouped(stream(), SHAPES, "query")
    draw = random.Random(0)
    for _ in range(25):
        broken = bytearray(payload)
        del broken[len(broken) - draw.choice([0, 0, 1, 40, len(broken)]) :]
        for _ in range(draw.randrange(1, 4)):
            if broken:
                broken[draw.randrange(min(len(broken), draw.choice([12, 4000])))] ^= 1 << draw.randrange(8)
        try:
            assert len(unpergrouped(by("pergroup"), bytes(broken), SHAPES)) == len(stream())
        except ArtifactError as error:
            assert "\n" not in str(error)


@needs_lrzip
def test_a_bomb_is_refused_before_it_fills_the_disk(by):
    bomb = pergrouped(bytes(4_000_000), [(1000, 4000)], "key")
    assert len(bomb) < 10_000
    with pytest.raises(ArtifactError, match="is damaged, or holds more than 1472"):
        unpergrouped(by("pergroup"), bomb, SHAPES)


@pytest.fixture
def quantized(model, quant_spec):
    tokens = torch.randint(2, 300, (1, 129), generator=torch.Generator().manual_seed(0))
    alone = Ranks(rank=0, world=1, device=torch.device("cpu"))
    hessians = collect(model, [Batch(tokens[:, :-1], tokens[:, 1:], None)], 1, alone, looped=True)
    return rotate_gptq(model, hessians, quant_spec)


@needs_lrzip
def test_an_artifact_by_groups_holds_the_same_symbols(quantized, quant_spec):
    plain, groups = (replace(quant_spec, codec=codec) for codec in ("range", "pergroup"))
    before, after = pack(quantized, plain, {}), pack(quantized, groups, {})
    codecs = {s.name: s.codec for s in read_artifact(after).streams}
    assert {name for name, codec in codecs.items() if codec == "brotli"} == {"control", "steps"}
    assert {codec for name, codec in codecs.items() if name not in ("control", "steps")} == {"lrzip"}
    assert raw_streams(read_artifact(before)) == raw_streams(read_artifact(after))
    states = unpack(before, plain)[0], unpack(after, groups)[0]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert sum(row.size_bytes for row in describe(after)) == len(after)


def test_without_the_program_the_recipe_says_what_happens(quantized, quant_spec, monkeypatch):
    monkeypatch.setattr(pergroup, "has_lrzip", lambda: False)
    with pytest.raises(GateError, match="needs the program lrzip"):
        pack(quantized, replace(quant_spec, codec="pergroup"), {})
    lenient = replace(quant_spec, codec="pergroup_or_range")
    data = pack(quantized, lenient, {})
    assert {s.codec for s in read_artifact(data).streams} == {"range", "brotli"}
    plain = replace(quant_spec, codec="range")
    state, wanted = unpack(data, lenient)[0], unpack(pack(quantized, plain, {}), plain)[0]
    assert all(torch.equal(state[name], wanted[name]) for name in wanted)
