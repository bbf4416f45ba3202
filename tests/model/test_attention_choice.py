"""The model under a backend that is no SDPA, and how a stage comes to it."""

import json

import pytest
import torch

from fairway import main
from fairway.errors import RecipeError
from fairway.kernels import varlen_attention
from fairway.kernels.attention import SDPA
from fairway.kernels.flash_attention import bounded_attention
from fairway.kernels.varlen_attention import packed_attention
from fairway.model import gpt
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.spec.model import Loops, ModelSpec, TwoLanes

SIZES = dict(vocab_size=300, layers=3, width=32, heads=4, kv_heads=2, mlp_width=48, rope_dims=4, xsa_last=2)
SPEC = ModelSpec(**SIZES, loops=Loops(first=1, last=1, extra=1), lanes=TwoLanes(start=2))
REFERENCE = ModelSpec(**SIZES, attention="sdpa", loops=Loops(first=1, last=1, extra=1), lanes=TwoLanes(start=2))


def model_of(spec):
    model = Gpt(spec)
    initialise(model, 0)
    with torch.no_grad():
        for i, parameter in enumerate(model.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    return model


def stand_in(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *, window_size=(-1, -1), enable_gqa=False):
    return packed_attention(query, key, value, cu_seq_q, max_q)


def tokens(rows, length):
    return torch.randint(0, 300, (rows, length), generator=torch.Generator().manual_seed(rows))


@pytest.mark.parametrize(
    "x, bounds", [(tokens(3, 12), None), (tokens(1, 40), [0, 1, 30, 40, 40])], ids=["rows", "documents"]
)
@pytest.mark.parametrize("looped", [False, True])
def test_the_loss_and_its_gradients_are_those_of_sdpa_whatever_attends(x, bounds, looped):
    placed = {} if bounds is None else {"cu_seqlens": torch.tensor(bounds, dtype=torch.int32), "max_len": 29}
    results = []
    for spec, attention in ((REFERENCE, None), (SPEC, SDPA), (SPEC, bounded_attention("varlen", stand_in, "here"))):
        model = model_of(spec)
        if attention is not None:
            model.attention = attention
        loss = model.loss(x, x, looped=looped, **placed)
        results.append((loss, torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)))
    for loss, gradients in results[1:]:
        torch.testing.assert_close(loss, results[0][0])
        for mine, wanted in zip(gradients, results[0][1], strict=True):
            torch.testing.assert_close(mine, wanted, atol=1e-6, rtol=1e-4)


def test_no_padded_batch_is_made_for_a_backend_that_reads_bounds(monkeypatch):
    def refuse(*given):
        raise AssertionError("a padded batch was made")

    monkeypatch.setattr(gpt, "pack_segments", refuse)
    monkeypatch.setattr(varlen_attention, "pack_segments", refuse)
    model = model_of(SPEC)
    model.attention = bounded_attention("varlen", lambda q, *given, is_causal: q, "here")
    model.hidden(tokens(1, 40), looped=False, cu_seqlens=torch.tensor([0, 13, 40]), max_len=27)
    with pytest.raises(AssertionError, match="a padded batch was made"):
        model_of(REFERENCE).hidden(tokens(1, 40), looped=False, cu_seqlens=torch.tensor([0, 13, 40]), max_len=27)


def stage_on(device, path):
    return main.Stage(Ranks(0, 1, torch.device(device)), EventLog(path, stage="train"), 0.0)


def test_a_stage_chooses_once_and_its_log_says_what_attends_and_why(tmp_path):
    model = model_of(SPEC)
    stage = stage_on("cpu", tmp_path / "events.jsonl")
    with stage.log:
        main.settle_attention(model, stage)
    assert model.attention is SDPA
    entry = json.loads((tmp_path / "events.jsonl").read_text())
    assert {key: entry[key] for key in ("event", "backend", "origin", "wanted", "dtype")} == {
        "event": "attention",
        "backend": "sdpa",
        "origin": f"torch {torch.__version__}",
        "wanted": "auto",
        "dtype": "float32",
    }
    assert list(entry["passed_over"]) == ["fa3", "fa4", "varlen", "flex"]


def test_a_named_backend_that_cannot_run_stops_the_stage(tmp_path):
    model = model_of(ModelSpec(**SIZES, attention="varlen"))
    stage = stage_on("cpu", tmp_path / "events.jsonl")
    with stage.log, pytest.raises(RecipeError, match="'varlen' cannot run on cpu: it needs a CUDA device"):
        main.settle_attention(model, stage)


@pytest.mark.parametrize("looped", [False, True])
def test_each_bank_is_taken_apart_once_a_forward_however_often_its_layers_run(looped):
    """Indexing a bank would cost a bank-sized gradient a use: one node alone may hand gradients to each bank."""
    model = model_of(SPEC)
    loss = model.loss(tokens(1, 12), tokens(1, 12), looped=looped)
    banks = {id(parameter): name for name, parameter in model.named_parameters() if name.endswith("_bank")}
    assert set(banks.values()) == {"qo_bank", "kv_bank", "up_bank", "down_bank"}
    givers = {name: set() for name in banks.values()}
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        for inner, _ in node.next_functions:
            if inner is not None:
                waiting.append(inner)
                if (name := banks.get(id(getattr(inner, "variable", None)))) is not None:
                    givers[name].add(node)
    assert {name: [node.name() for node in nodes] for name, nodes in givers.items()} == dict.fromkeys(
        givers, ["UnbindBackward0"]
    )
