"""Classes of rows or columns: what comes back, what they save, and what is refused."""

import math
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.batches import Batch
from fairway.errors import ArtifactError
from fairway.quant import classes
from fairway.quant.artifact import read_artifact
from fairway.quant.classes import classed, unclassed
from fairway.quant.codecs import range_encoded
from fairway.quant.describe import describe
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.streams import raw_streams
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import Grid, QuantSpec

GRID = Grid(bits=6, clip_sigmas=12.0)
PLAIN = QuantSpec(attention=GRID, mlp=GRID, embedding=GRID, codec="classes")
SHAPES = [(40, 60), (16, 24)]


def symbols(spread: torch.Tensor, seed: int = 0) -> bytes:
    """One matrix of Gaussian symbols as it lies in its stream, transposed; ``spread`` has its shape."""
    noise = torch.randn(spread.shape, generator=torch.Generator().manual_seed(seed))
    return (noise * spread).round().clamp(-31, 31).to(torch.int8).T.contiguous().numpy().tobytes()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), spread=st.floats(0.0, 40.0))
def test_what_was_packed_comes_back(seed, spread):
    raw = b"".join(symbols(torch.full(shape, spread), seed) for shape in SHAPES)
    payload = classed(raw, SHAPES)
    assert unclassed(PLAIN, payload, SHAPES) == raw
    assert classed(raw, SHAPES) == payload


@pytest.mark.parametrize("axis", [0, 1])
def test_lines_of_different_spread_are_packed_near_the_entropy_of_each(axis):
    rows, columns = 512, 1024
    line = torch.exp(torch.randn(rows if axis else columns, generator=torch.Generator().manual_seed(1)) * 0.6)
    spread = 2.5 * (line[:, None].expand(rows, columns) if axis else line.expand(rows, columns))
    raw = symbols(spread)
    payload = classed(raw, [(rows, columns)])
    assert payload[0] == axis
    order_0 = len(range_encoded(raw, 1))
    # a Gaussian symbol of that spread has log2(spread sqrt(2 pi e)) bits, if the grid is not coarse or clamped
    bound = float((spread * math.sqrt(2 * math.pi * math.e)).log2().sum()) / 8
    assert 0.97 * bound < len(payload) < 0.35 * order_0 + 0.65 * bound
    assert unclassed(PLAIN, payload, [(rows, columns)]) == raw


def both_axes(raw: bytes, shape: tuple[int, int]) -> bytes:
    """A payload of both axes, whether or not it is the shortest."""
    held = torch.frombuffer(bytearray(raw), dtype=torch.uint8)
    rows = (torch.arange(shape[0]) % 2).to(torch.uint8)
    columns = torch.stack([(torch.arange(shape[1]) % count).to(torch.uint8) for count in (2, 3)])
    return classes._classes_written_both(held, [shape], rows, columns)


def test_a_symbol_that_a_line_never_had_costs_no_more_than_the_line_says():
    raw = symbols(torch.ones(8, 8)) + bytes([31]) + bytes(63)
    assert unclassed(PLAIN, classed(raw, [(8, 8), (8, 8)]), [(8, 8), (8, 8)]) == raw


def pushed_alike(rows: int, columns: int) -> bytes:
    """Every third row is one vector and little noise, the others are noise."""
    common = 4 * torch.randn(columns, generator=torch.Generator().manual_seed(5))
    noise = torch.randn(rows, columns, generator=torch.Generator().manual_seed(6))
    is_alike = (torch.arange(rows) % 3 == 0)[:, None]
    values = torch.where(is_alike, common + 0.8 * noise, 3 * noise)
    return values.round().clamp(-31, 31).to(torch.int8).T.contiguous().numpy().tobytes()


def test_rows_that_were_pushed_alike_are_packed_as_what_they_have_in_common():
    shape = (900, 64)
    raw = pushed_alike(*shape)
    one, both = classed(raw, [shape]), classed(raw, [shape], both=True)
    assert both[0] == 2 and one[0] < 2
    # of the rows alike log2(0.8 sqrt(2 pi e)) bits a symbol, of the others log2(3 sqrt(2 pi e))
    gauss = 0.5 * math.log2(2 * math.pi * math.e)
    bound = 64 / 8 * (300 * (gauss + math.log2(0.8)) + 600 * (gauss + math.log2(3.0)))
    assert bound < len(both) < min(1.1 * bound, 0.95 * len(one))
    assert unclassed(PLAIN, both, [shape]) == raw
    assert classed(raw, [shape], both=True) == both


def test_classes_of_both_axes_span_matrices_of_any_shape_and_are_not_taken_for_nothing():
    shapes = [(900, 64), (40, 60)]
    raw = pushed_alike(*shapes[0]) + symbols(torch.full(shapes[1], 3.0))
    payload = classed(raw, shapes, both=True)
    assert payload[0] == 2 and unclassed(PLAIN, payload, shapes) == raw
    noise = symbols(torch.full((300, 60), 3.0))
    assert classed(noise, [(300, 60)], both=True) == classed(noise, [(300, 60)])


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_damage_under_both_axes_is_refused_or_read_but_never_anything_else(seed):
    draw = random.Random(seed)
    shape = (90, 16)
    payload = bytearray(both_axes(pushed_alike(*shape), shape))
    del payload[len(payload) - draw.choice([0, 0, 1, 9, 2000]) :]
    for _ in range(draw.randrange(4)):
        if payload:
            payload[draw.randrange(min(len(payload), draw.choice([12, 4000])))] ^= 1 << draw.randrange(8)
    try:
        assert len(unclassed(PLAIN, bytes(payload), [shape])) == 90 * 16
    except ArtifactError as error:
        assert "\n" not in str(error)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32))
def test_damage_is_refused_or_read_but_never_anything_else(seed):
    draw = random.Random(seed)
    raw = b"".join(symbols(torch.full(shape, 3.0)) for shape in SHAPES)
    payload = bytearray(classed(raw, SHAPES))
    del payload[len(payload) - draw.choice([0, 0, 1, 9, 2000]) :]
    for _ in range(draw.randrange(4)):
        if payload:
            payload[draw.randrange(min(len(payload), draw.choice([12, 4000])))] ^= 1 << draw.randrange(8)
    try:
        assert len(unclassed(PLAIN, bytes(payload), SHAPES)) == len(raw)
    except ArtifactError as error:
        assert "\n" not in str(error)


@torch.no_grad()
def test_an_artifact_by_classes_holds_the_same_symbols_in_no_more_bytes(model, quant_spec):
    tokens = torch.randint(2, 300, (1, 257), generator=torch.Generator().manual_seed(0))
    alone = Ranks(rank=0, world=1, device=torch.device("cpu"))
    hessians = collect(model, [Batch(tokens[:, :-1], tokens[:, 1:], None)], 1, alone, looped=True)
    quantized = rotate_gptq(model, hessians, quant_spec)
    plain, by_class = (replace(quant_spec, codec=codec) for codec in ("range", "classes"))
    before, after = pack(quantized, plain, {}), pack(quantized, by_class, {})
    sizes = [{s.name: len(s.payload) for s in read_artifact(data).streams} for data in (before, after)]
    assert all(sizes[1][name] <= sizes[0][name] for name in sizes[0])
    assert raw_streams(read_artifact(before)) == raw_streams(read_artifact(after))
    states = unpack(before, plain)[0], unpack(after, by_class)[0]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert sum(row.size_bytes for row in describe(after)) == len(after)
