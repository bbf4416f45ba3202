"""After warm-up nothing is compiled any more, whatever lengths, loops and rounding bring; and what is, is logged."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import torch._dynamo.utils
import torch._inductor.config

from fairway.data.batches import packed_batches
from fairway.data.shards import write_shard
from fairway.kernels.attention import SDPA
from fairway.kernels.flash_attention import bounded_attention
from fairway.kernels.varlen_attention import packed_attention
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.spec.optim import AdamSpec, MuonSpec, OptimSpec
from fairway.spec.train import LateRounding, NoRounding, TrainSpec
from fairway.train import loop
from fairway.train.compiling import compiled_so_far, log_compiled, pin_compiler
from fairway.train.loop import train

# Dynamo makes an instance of a custom function while it traces one, and Inductor uses TorchScript: both deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning"),
    # Dynamo looks at the gradient of every input of a graph, blocks' inputs among them.
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]

MODEL = ModelSpec(
    vocab_size=64,
    layers=3,
    width=16,
    heads=2,
    kv_heads=1,
    mlp_width=24,
    rope_dims=4,
    xsa_last=3,
    loops=Loops(first=1, last=1, extra=1, start_fraction=0.34),
    lanes=TwoLanes(start=2),
)
OPTIM = OptimSpec(muon=MuonSpec(), adam=AdamSpec(), ema_decay=0.5, warmdown_fraction=0.5)
# Loops are on from the third of six steps, rounded matrices from the fifth.
TRAIN = TrainSpec(
    context=16,
    batch_tokens=256,
    micro_batch_tokens=256,
    budget_s=1e6,
    reserve_s=1e3,
    steps=6,
    warmup_steps=1,
    threads=1,
    log_every=1,
    rounding=LateRounding(bits=4, below_scale=0.9),
)


@torch.library.custom_op("fairway_tests::documents", mutates_args=())
def documents(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bounds: torch.Tensor, longest: int) -> torch.Tensor:
    """Attention that is opaque to the compiler and reads bounds, as the flash kernels are and do."""
    return packed_attention(q, k, v, bounds, longest).contiguous()


documents.register_fake(lambda q, k, v, bounds, longest: torch.empty_like(q))


@torch.library.custom_op("fairway_tests::documents_backward", mutates_args=())
def documents_backward(
    grad: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bounds: torch.Tensor, longest: int
) -> list[torch.Tensor]:
    """Gradients of ``documents``."""
    shared = q.shape[1] // k.shape[1]
    places = torch.arange(q.shape[0])
    segment = torch.searchsorted(bounds, places, right=True)
    seen = (places[:, None] >= places) & (segment[:, None] == segment)
    keys, values = (x.repeat_interleave(shared, 1) for x in (k, v))
    scores = torch.einsum("qhk,shk->hqs", q, keys) / q.shape[-1] ** 0.5
    p = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    from_values = torch.einsum("qhk,shk->hqs", grad, values)
    score_grad = p * (from_values - (p * from_values).sum(-1, keepdim=True)) / q.shape[-1] ** 0.5
    dq = torch.einsum("hqs,shk->qhk", score_grad, keys)
    dk = torch.einsum("hqs,qhk->shk", score_grad, q).unflatten(1, (-1, shared)).sum(2)
    dv = torch.einsum("hqs,qhk->shk", p, grad).unflatten(1, (-1, shared)).sum(2)
    return [dq.contiguous(), dk.contiguous(), dv.contiguous()]


documents_backward.register_fake(
    lambda grad, q, k, v, bounds, longest: [torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)]
)


def _keep(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:4])
    ctx.longest = inputs[4]


documents.register_autograd(
    lambda ctx, grad: (*documents_backward(grad, *ctx.saved_tensors, ctx.longest), None, None), setup_context=_keep
)


def by_bounds(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, window_size=(-1, -1)):
    return documents(query, key, value, cu_seq_q, max_q)


READS_BOUNDS = bounded_attention("varlen", by_bounds, "a stand-in")


@pytest.fixture
def shards(tmp_path):
    """Rows of 256 tokens with anything from 20 to over 128 pieces: bounds of lengths 64, 128 and 192 in turn."""
    random = np.random.default_rng(0)
    found = []
    for row in range(40):
        longest = (4, 40, 2)[row % 3]
        lengths = random.integers(2, longest + 1, size=300)
        tokens = np.concatenate([[1, *random.integers(4, 64, size=length - 1)] for length in lengths])
        found.append(tokens[:256])
    write_shard(tmp_path / "fineweb_train_000000.bin", np.concatenate(found).astype(np.uint16))
    return [tmp_path / "fineweb_train_000000.bin"]


def run(shards, spec, attention, folder):
    model = Gpt(MODEL)
    initialise(model, 0)
    model.attention = attention
    events = folder / "events.jsonl"
    with EventLog(events, stage="train") as log:
        batches = packed_batches(shards, tokens=256, context=16)
        train(model, spec, OPTIM, batches, Ranks(0, 1, torch.device("cpu")), log, loops=MODEL.loops)
    entries = [json.loads(line) for line in events.read_text().splitlines()]
    return {name: [e for e in entries if e["event"] == name] for name in {e["event"] for e in entries}}


@pytest.fixture
def traced(monkeypatch):
    """Compile by tracing alone, and count."""
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


def bound_lengths(shards):
    batches = packed_batches(shards, tokens=256, context=16)
    return [next(batches).cu_seqlens.numel() for _ in range(6)]


# Whole: loop states times rounding or not. Blocks: on one lane, on two, and what lays out a padded batch, whose shape
# is another for each of three lengths.
@pytest.mark.parametrize(
    "mode, attention, graphs",
    [(True, READS_BOUNDS, 4), ("blocks", SDPA, 9), ("blocks", READS_BOUNDS, 2)],
    ids=["whole, bounds", "blocks, padded", "blocks, bounds"],
)
def test_nothing_is_compiled_after_warm_up(mode, attention, graphs, shards, tmp_path, traced, monkeypatch):
    assert set(bound_lengths(shards)) == {64, 128, 192}
    monkeypatch.setattr(loop, "_WARMUP_BOUND_LENGTHS", (64, 128, 192))
    switches = []
    start = loop.run_loop

    def strict(training):
        switches.append(dict(training.loss_fns))
        with torch.compiler.set_stance("fail_on_recompile"):
            return start(training)

    monkeypatch.setattr(loop, "run_loop", strict)
    events = run(shards, replace(TRAIN, compile=mode), attention, tmp_path)
    assert set(switches[0]) == {0, 1, 2, 3}
    assert events["loops_on"][0]["step"] == 3 and events["rounding_on"][0]["step"] < 6
    (entry,) = events["compile"]
    assert entry["graphs"] == graphs and entry["compile_s"] > 0.0 and entry["blocks"] is (mode == "blocks")
    assert "recompile" not in events


def test_a_length_that_warm_up_did_not_see_is_compiled_and_logged_and_the_run_goes_on(
    shards, tmp_path, traced, monkeypatch
):
    monkeypatch.setattr(loop, "_WARMUP_BOUND_LENGTHS", ())
    # Warm-up steps on the first and the third row, and passes over the second.
    assert bound_lengths(shards)[:3] == [128, 64, 192]
    events = run(shards, replace(TRAIN, compile="blocks", rounding=NoRounding()), SDPA, tmp_path)
    assert [(entry["step"], entry["graphs"]) for entry in events["recompile"]] == [(2, 3)]
    assert events["done"][0]["steps"] == 6


def test_settings_of_the_compiler_come_from_the_recipe_and_not_from_the_environment(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_MIX_ORDER_REDUCTION", "1")
    for wanted in (True, False):
        pin_compiler(replace(TRAIN, mix_order_reduction=wanted))
        assert torch._inductor.config.triton.mix_order_reduction is wanted
    assert torch._dynamo.config.recompile_limit >= 16


def test_what_the_compiler_counts_becomes_one_event_and_nothing_becomes_none(tmp_path):
    before = compiled_so_far()
    with EventLog(tmp_path / "events.jsonl", stage="train") as log:
        assert log_compiled(log, "compile", before) == before
        torch._dynamo.utils.counters["stats"]["unique_graphs"] += 3
        torch._dynamo.utils.counters["aot_autograd"].update(
            {"autograd_cache_hit": 1, "autograd_cache_miss": 1, "autograd_cache_bypass": 1}
        )
        log_compiled(log, "compile", before, blocks=True)
    (entry,) = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    counted = {key: entry[key] for key in ("event", "blocks", "graphs", "cache_hits", "cache_misses")}
    assert counted == {"event": "compile", "blocks": True, "graphs": 3, "cache_hits": 1, "cache_misses": 2}
