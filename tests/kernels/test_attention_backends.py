"""Every attention backend that this machine can run, against attention by its definition in float64.

On a machine with a GPU this suite is what shows that its backends compute what the reference does; elsewhere it
says for each that is skipped why. Calls into packages that are not installed are checked with stand-ins.
"""

import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import flex_attention as flex_module

from fairway.errors import RecipeError
from fairway.kernels import flash_attention
from fairway.kernels.attention import SDPA, Attention, Pieces, place_pieces
from fairway.kernels.backend import _ATTENTION_LOADERS, choose_attention
from fairway.kernels.flash_attention import bounded_attention, fa3_attention
from fairway.kernels.flex_attention import document_mask, flex_attention_of
from fairway.kernels.varlen_attention import pack_segments

# On a CPU FlexAttention runs unfused, and says that this is slow; Inductor uses TorchScript, which is deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
]

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
DTYPES = (torch.bfloat16,) if DEVICE.type == "cuda" else (torch.float32, torch.bfloat16)
TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 3e-2, torch.float64: 1e-9}
RAGGED = {
    "one token, the longest, others": ([1, 130, 64, 3], 0),
    "the longest last, empty tail": ([5, 1, 130], 3),
    "one document": ([130], 1),
    "all of one token": ([1] * 9, 2),
    "a whole block of 128 inside one, and a border on a block": ([128, 128, 3, 130], 1),
}
MAX_LEN = 130
HEADS = [(8, 4), (4, 4), (4, 1)]
KINDS = list(_ATTENTION_LOADERS)


def reference(q, k, v):
    """Softmax over all positions up to one's own, float64; rows (B, T, H, K)."""
    q, k, v = (x.double() for x in (q, k, v))
    shared = q.shape[2] // k.shape[2]
    k, v = (x.repeat_interleave(shared, dim=2) for x in (k, v))
    scores = torch.einsum("bqhk,bshk->bhqs", q, k) / q.shape[-1] ** 0.5
    later = torch.ones(q.shape[1], q.shape[1], dtype=torch.bool, device=q.device).triu(1)
    return torch.einsum("bhqs,bshk->bqhk", scores.masked_fill(later, -torch.inf).softmax(-1), v)


def reference_packed(q, k, v, bounds):
    """``reference`` of each segment alone."""
    ends = bounds.tolist()
    pairs = [(a, b) for a, b in zip(ends, ends[1:], strict=False) if b > a]
    return torch.cat([reference(q[None, a:b], k[None, a:b], v[None, a:b])[0] for a, b in pairs])


def bounds_of(lengths, tail):
    ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
    return torch.tensor(ends + ends[-1:] * tail, dtype=torch.int32, device=DEVICE)


def qkv(shape, heads, kv_heads, dtype=torch.float32, width=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(*shape, count, width, generator=generator) for count in (heads, kv_heads, kv_heads)]
    return [x.to(DEVICE, dtype).requires_grad_() for x in drawn]


def backend(name, dtype, *, gradient):
    """The backend, or a skip that says why it cannot run here."""
    found = _ATTENTION_LOADERS[name](DEVICE, dtype, 16)
    if isinstance(found, Attention):
        return found
    if name == "flex" and not gradient:
        return flex_attention_of(flex_module, flex_module.flex_attention)  # unfused, as no compiler is at work
    pytest.skip(f"{name}: {found}")


def assert_same(got, wanted, dtype):
    torch.testing.assert_close(got.double(), wanted, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads", HEADS, ids=lambda pair: f"{pair[0]} heads over {pair[1]}")
@pytest.mark.parametrize("case", RAGGED)
@pytest.mark.parametrize("name", KINDS)
def test_packed_documents_attend_as_by_definition(name, case, heads, dtype):
    lengths, tail = RAGGED[case]
    attention = backend(name, dtype, gradient=False)
    q, k, v = (x.detach() for x in qkv((sum(lengths),), *heads, dtype))
    bounds = bounds_of(lengths, tail)
    placed = attention.place(bounds, sum(lengths), MAX_LEN)
    y = attention.packed(q, k, v, placed)
    assert y.dtype == dtype and y.shape == q.shape
    assert_same(y, reference_packed(q, k, v, bounds), dtype)
    assert placed.positions.tolist() == [t for length in lengths for t in range(length)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads", HEADS, ids=lambda pair: f"{pair[0]} heads over {pair[1]}")
@pytest.mark.parametrize("case", RAGGED)
@pytest.mark.parametrize("name", KINDS)
def test_packed_documents_have_the_gradients_of_the_definition(name, case, heads, dtype):
    lengths, tail = RAGGED[case]
    attention = backend(name, dtype, gradient=True)
    inputs = qkv((sum(lengths),), *heads, dtype)
    bounds = bounds_of(lengths, tail)
    slow = reference_packed(*inputs, bounds)
    weight = torch.randn(slow.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(DEVICE)
    wanted = torch.autograd.grad((slow * weight).sum(), inputs)
    y = attention.packed(*inputs, attention.place(bounds, sum(lengths), MAX_LEN))
    for got, by_definition in zip(torch.autograd.grad((y * weight.to(dtype)).sum(), inputs), wanted, strict=True):
        scale = by_definition.abs().max().clamp_min(1.0)
        assert_same(got / scale, by_definition.double() / scale, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("heads", HEADS, ids=lambda pair: f"{pair[0]} heads over {pair[1]}")
@pytest.mark.parametrize("name", KINDS)
def test_dense_rows_attend_and_learn_as_by_definition(name, heads, dtype):
    attention = backend(name, dtype, gradient=name != "flex")
    inputs = qkv((3, 37), *heads, dtype)
    slow = reference(*inputs)
    wanted = torch.autograd.grad(slow.square().sum(), inputs)
    y = attention.dense(*inputs)
    assert y.dtype == dtype
    assert_same(y.detach(), slow.detach(), dtype)
    for got, by_definition in zip(torch.autograd.grad(y.square().sum(), inputs), wanted, strict=True):
        scale = by_definition.abs().max().clamp_min(1.0)
        assert_same(got / scale, by_definition.double() / scale, dtype)


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 300), min_size=1, max_size=6), tail=st.integers(0, 3))
def test_the_document_mask_lists_the_blocks_that_a_mask_of_all_pairs_has(lengths, tail):
    tokens = sum(lengths)
    segment = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))

    def allowed(batch, head, query, key):
        return (query >= key) & (segment[query] == segment[key])

    wanted = flex_module.create_block_mask(allowed, None, None, tokens, tokens, device="cpu")
    got = document_mask(bounds_of(lengths, tail).cpu(), tokens, flex_module.BlockMask)
    assert torch.equal(got.to_dense(), wanted.to_dense())
    for counts, places in (("kv_num_blocks", "kv_indices"), ("full_kv_num_blocks", "full_kv_indices")):
        mine, theirs = getattr(got, counts)[0, 0], getattr(wanted, counts)[0, 0]
        # A last block that ends beyond the row is partial for one and may be whole for the other.
        for row in range(len(mine) - 1):
            assert mine[row] == theirs[row]
            listed = [set(getattr(mask, places)[0, 0, row, : mine[row]].tolist()) for mask in (got, wanted)]
            assert listed[0] == listed[1]


# ---- calls into packages that are not installed here


def check_bounds(q, k, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k):
    """What every flash kernel asks of its arguments."""
    for bounds in (cu_seqlens_q, cu_seqlens_k):
        assert bounds.dtype == torch.int32 and bounds.dim() == 1 and bounds.is_contiguous()
        assert int(bounds[0]) == 0 and int(bounds[-1]) == q.shape[0]
    assert type(max_seqlen_q) is int and type(max_seqlen_k) is int
    assert int(cu_seqlens_q.diff().max()) <= max_seqlen_q
    assert q.dim() == k.dim() == 3 and q.stride(-1) == k.stride(-1) == 1


def fake_fa3(tuples):
    def flash_attn_func(q, k, v, softmax_scale=None, causal=False, window_size=(-1, -1)):
        assert causal and softmax_scale is None and q.dim() == 4
        y = reference(q, k, v).to(q.dtype)
        return (y, y.new_zeros(1)) if tuples else y

    def flash_attn_varlen_func(
        q,
        k,
        v,
        cu_seqlens_q,
        cu_seqlens_k,
        max_seqlen_q,
        max_seqlen_k,
        seqused_q=None,
        seqused_k=None,
        softmax_scale=None,
        causal=False,
        window_size=(-1, -1),
    ):
        assert causal and softmax_scale is None
        check_bounds(q, k, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k)
        y = reference_packed(q, k, v, cu_seqlens_q).to(q.dtype)
        return (y, y.new_zeros(1)) if tuples else y

    return flash_attn_func, flash_attn_varlen_func


def varlen_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=False, return_aux=None):
    assert is_causal
    check_bounds(query, key, cu_seq_q, cu_seq_k, max_q, max_k)
    return reference_packed(query, key, value, cu_seq_q).to(query.dtype)


def varlen_2_11(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, return_aux=None, scale=None, window_size=(-1, -1)
):
    assert window_size == (-1, 0)
    return varlen_2_10(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, is_causal=True)


def varlen_2_12(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, window_size=(-1, -1), enable_gqa=False):
    assert enable_gqa or query.shape[1] == key.shape[1]
    return varlen_2_11(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, window_size=window_size)


STAND_INS = {
    "fa3": fa3_attention(*fake_fa3(False), "a stand-in"),
    "fa3 that returns pairs": fa3_attention(*fake_fa3(True), "a stand-in"),
    "varlen of 2.10": bounded_attention("varlen", varlen_2_10, "a stand-in"),
    "varlen of 2.11": bounded_attention("varlen", varlen_2_11, "a stand-in"),
    "varlen of 2.12": bounded_attention("varlen", varlen_2_12, "a stand-in"),
}


@pytest.mark.parametrize("case", RAGGED)
@pytest.mark.parametrize("attention", STAND_INS.values(), ids=STAND_INS)
def test_each_flash_function_is_called_with_what_it_takes(attention, case):
    lengths, tail = RAGGED[case]
    bounds = bounds_of(lengths, tail).long()  # whoever made them, kernels are given int32
    inputs = qkv((sum(lengths),), 8, 4, torch.float64)
    placed = attention.place(bounds, sum(lengths), MAX_LEN)
    assert isinstance(placed, Pieces), "no padded batch is made for a kernel that reads bounds"
    y = attention.packed(*inputs, placed)
    assert isinstance(y, torch.Tensor)
    assert_same(y, reference_packed(*inputs, bounds), torch.float64)
    rows = qkv((3, 7), 8, 4, torch.float64)
    assert_same(attention.dense(*rows), reference(*rows), torch.float64)


def test_positions_count_from_the_start_of_the_segment_with_empty_tail_and_without():
    bounds = bounds_of([3, 1, 4], 5)
    assert torch.equal(place_pieces(bounds, 8, 4).positions.long(), pack_segments(bounds, 8, 4).positions)


@pytest.fixture
def hopper(monkeypatch):
    """A machine that says it has a GPU of some capability; nothing is ever computed on it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    for name in ("flash_attn_interface", "flash_attn.cute.interface"):
        monkeypatch.setitem(sys.modules, name, None)  # as if not installed
    return torch.device("cuda")


def install_fa3(monkeypatch):
    dense, varlen = fake_fa3(False)
    module = SimpleNamespace(flash_attn_func=dense, flash_attn_varlen_func=varlen)
    monkeypatch.setitem(sys.modules, "flash_attn_interface", module)


def install_fa4(monkeypatch):
    activated = []
    for name in ("flash_attn", "flash_attn.cute", "flash_attn.cute.interface"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace())
    monkeypatch.setattr(torch.nn.attention, "activate_flash_attention_impl", activated.append)
    return activated


def test_auto_takes_the_fastest_that_is_there_and_says_why_it_passed_over_the_others(hopper, monkeypatch):
    chosen, passed_over = choose_attention("auto", hopper, torch.bfloat16, 64)
    assert chosen.name == "varlen" and chosen.origin == f"torch {torch.__version__}"
    assert list(passed_over) == ["fa3", "fa4"]
    assert all("cannot be imported" in reason for reason in passed_over.values())
    activated = install_fa4(monkeypatch)
    assert choose_attention("auto", hopper, torch.bfloat16, 64).attention.name == "fa4"
    assert activated == ["FA4"]
    install_fa3(monkeypatch)
    chosen, passed_over = choose_attention("auto", hopper, torch.bfloat16, 64)
    assert chosen.name == "fa3" and passed_over == {}
    assert activated == ["FA4"], "a backend that is not chosen is not activated either"


def test_float32_on_a_gpu_goes_past_the_flash_kernels(hopper, monkeypatch):
    install_fa3(monkeypatch)
    chosen, passed_over = choose_attention("auto", hopper, torch.float32, 64)
    assert chosen.name == "flex"
    assert {reason for reason in passed_over.values()} == {"it takes bfloat16 or float16, not float32"}


@pytest.mark.parametrize(
    "capability, width, chosen",
    [((8, 0), 64, "varlen"), ((7, 5), 64, "flex"), ((7, 5), 24, "sdpa"), ((9, 0), 24, "fa3")],
)
def test_auto_takes_what_fits_the_device_and_the_width_of_a_head(hopper, monkeypatch, capability, width, chosen):
    install_fa3(monkeypatch)
    install_fa4(monkeypatch)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_attention("auto", hopper, torch.bfloat16, width).attention.name == chosen


def test_on_a_cpu_auto_is_sdpa_and_each_other_by_name_is_an_error_that_says_what_would_do():
    cpu = torch.device("cpu")
    chosen, passed_over = choose_attention("auto", cpu, torch.float32, 64)
    assert chosen is SDPA and list(passed_over) == ["fa3", "fa4", "varlen", "flex"]
    for name in passed_over:
        with pytest.raises(RecipeError, match=f"model.attention: '{name}' cannot run on cpu: .*'sdpa' runs everywhere"):
            choose_attention(name, cpu, torch.float32, 64)


def test_a_torch_without_the_registry_cannot_run_fa4_and_says_so(hopper, monkeypatch):
    install_fa4(monkeypatch)
    monkeypatch.delattr(torch.nn.attention, "activate_flash_attention_impl")
    assert "2.11" in flash_attention.load_fa4(hopper, torch.bfloat16, 64)
