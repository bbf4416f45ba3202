import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.kernels.varlen_attention import causal_attention, pack_segments, packed_attention


def attention_by_definition(q, k, v):
    """Softmax over past positions, one query head after another, in float64."""
    batch, length, heads, width = q.shape
    shared = heads // k.shape[2]
    out = torch.empty(batch, length, heads, width, dtype=torch.float64)
    q, k, v = q.double(), k.double(), v.double()
    for h in range(heads):
        for t in range(length):
            weights = (k[:, : t + 1, h // shared] @ q[:, t, h, :, None]).squeeze(-1) / width**0.5
            out[:, t, h] = (weights.softmax(-1)[..., None] * v[:, : t + 1, h // shared]).sum(1)
    return out


def heads_of(tokens, *, seed=0, heads=4, kv_heads=2, width=8, grad=False):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(tokens, count, width, generator=generator).requires_grad_(grad)
        for count in (heads, kv_heads, kv_heads)
    ]


def bounds_of(lengths, tail):
    return torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist(), *[sum(lengths)] * tail], dtype=torch.int32)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_causal_attention_equals_its_definition(kv_heads):
    q, k, v = (x[None] for x in heads_of(11, kv_heads=kv_heads))
    torch.testing.assert_close(
        causal_attention(q, k, v).double(), attention_by_definition(q, k, v), atol=1e-5, rtol=1e-5
    )


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), tail=st.integers(0, 3))
def test_each_segment_attends_as_if_it_were_alone_whatever_the_empty_tail(lengths, tail):
    q, k, v = heads_of(sum(lengths))
    bounds = bounds_of(lengths, tail)
    packed = packed_attention(q, k, v, bounds, max_len=9)
    alone = torch.cat(
        [
            causal_attention(q[None, a:b], k[None, a:b], v[None, a:b])[0]
            for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
            if b > a
        ]
    )
    torch.testing.assert_close(packed, alone)


def test_packed_gradients_equal_those_of_segments_alone():
    lengths = [5, 1, 9, 3]
    bounds = bounds_of(lengths, 2)
    weight = torch.randn(sum(lengths), 4, 8, generator=torch.Generator().manual_seed(7))
    packed, alone = heads_of(18, grad=True), heads_of(18, grad=True)
    (packed_attention(*packed, bounds, max_len=16) * weight).sum().backward()
    for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if b > a:
            (causal_attention(*(x[None, a:b] for x in alone))[0] * weight[a:b]).sum().backward()
    for left, right in zip(packed, alone, strict=True):
        torch.testing.assert_close(left.grad, right.grad)


def test_positions_count_from_the_start_of_each_segment():
    packing = pack_segments(bounds_of([3, 2], 2), 5, 4)
    assert packing.positions.tolist() == [0, 1, 2, 0, 1]
    assert packing.segments == 2


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        ([0, 4, 9], "rise from 0 to 10"),
        ([1, 4, 10], "rise from 0 to 10"),
        ([0, 6, 4, 10], "rise from 0 to 10"),
        ([0, 7, 10], "at most 6 tokens, got 7"),
    ],
)
def test_bounds_that_do_not_tile_the_row_are_refused(bounds, message):
    with pytest.raises(ValueError, match=message):
        pack_segments(torch.tensor(bounds), 10, 6)
