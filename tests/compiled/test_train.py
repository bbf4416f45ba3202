"""Compiled training: two graphs, one a loop state, and the same weights as without compiling."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fairway.data.batches import packed_batches
from fairway.data.shards import write_shard
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.spec.optim import AdamSpec, MuonSpec, OptimSpec
from fairway.spec.train import TrainSpec
from fairway.train import loop
from fairway.train.loop import train

# Dynamo makes an instance of a custom function while it traces one, which torch itself deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")

MODEL = ModelSpec(
    vocab_size=32,
    layers=4,
    width=16,
    heads=2,
    kv_heads=1,
    mlp_width=24,
    rope_dims=4,
    xsa_last=2,
    loops=Loops(first=1, last=2, extra=1, start_fraction=0.5),
    lanes=TwoLanes(start=2),
)
OPTIM = OptimSpec(muon=MuonSpec(), adam=AdamSpec(), ema_decay=0.5)


def weights_after(files: list[Path], *, compiled: bool) -> dict[str, torch.Tensor]:
    spec = TrainSpec(
        context=16,
        batch_tokens=128,
        micro_batch_tokens=64,
        budget_s=1e6,
        reserve_s=1e3,
        steps=4,
        warmup_steps=1,
        compile=compiled,
        threads=1,
    )
    model = Gpt(MODEL)
    initialise(model, 0)
    ranks = Ranks(0, 1, torch.device("cpu"))
    with EventLog(None, stage="train") as log:
        train(model, spec, OPTIM, packed_batches(files, tokens=64, context=16), ranks, log, loops=MODEL.loops)
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def test_training_compiles_whole_graphs_for_all_lengths_before_its_clock_and_learns_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    documents = [np.array([1, *random.integers(4, 32, size=random.integers(2, 40))]) for _ in range(100)]
    write_shard(tmp_path / "fineweb_train_000000.bin", np.concatenate(documents).astype(np.uint16))
    files = [tmp_path / "fineweb_train_000000.bin"]
    plain = weights_after(files, compiled=False)

    graphs: list[int] = []

    def count(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> object:
        graphs.append(len(graph.graph.nodes))
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=count))
    steps = torch.compiler.set_stance("fail_on_recompile")(loop.run_loop)
    monkeypatch.setattr(loop, "run_loop", steps)
    compiled = weights_after(files, compiled=True)
    # Bounds are padded to 64, 128, 192, 256: four graphs in each loop state, the looped ones longer.
    assert len(graphs) == 8
    assert max(graphs[:4]) < min(graphs[4:])
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, rtol=1e-3, atol=1e-4, msg=name)
