"""One process of a run on 127.0.0.1, or a run by itself; ``test_ranks`` compares what they end with.

Arguments: folder of the shards, folder for results, then one or more of ``steps``, ``clock``, ``round_robin`` and
``sharded``; the last two are ``steps`` with that engine of Muon.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from fairway.data.batches import packed_batches
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks, close_ranks, open_ranks
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.spec.optim import AdamSpec, MuonSpec, OptimSpec
from fairway.spec.train import LateReplay, TrainSpec
from fairway.train.checkpoint import save_model
from fairway.train.loop import train

MODEL = ModelSpec(
    vocab_size=32,
    layers=5,  # odd, so that two ranks cannot share banks of one matrix a layer without padding
    width=16,
    heads=2,
    kv_heads=1,
    mlp_width=24,
    rope_dims=4,
    loops=Loops(first=1, last=2, extra=1, start_fraction=0.5),
    lanes=TwoLanes(start=2),
)
# The clip is far below the gradients' norm, so that clipping before the reduction would show.
OPTIM = OptimSpec(muon=MuonSpec(), adam=AdamSpec(), grad_clip=0.05, ema_decay=0.5)
STEPS = TrainSpec(
    context=16,
    batch_tokens=128,
    micro_batch_tokens=64,
    budget_s=1e6,
    reserve_s=1e3,
    steps=6,
    warmup_steps=1,
    compile=False,
    calibration_batches=0,
    log_every=1,
    replay=LateReplay(start_scale=0.6, keep=2, epochs=1),
)
CLOCK = replace(STEPS, steps=None, budget_s=30.0, reserve_s=8.0)


class SkewedClock:
    """Goes faster on one rank, then on the other: neither alone would stop where both do."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.looks = 0
        self.now_s = 0.0

    def __call__(self) -> float:
        self.looks += 1
        self.now_s += 3.0 if (self.looks // 4) % 2 == self.rank else 0.25
        return self.now_s


def run(ranks: Ranks, shards: Path, results: Path, mode: str) -> None:
    # Other weights on each rank: the first rank's must win.
    model = Gpt(MODEL)
    initialise(model, seed=ranks.rank)
    batches = packed_batches(sorted(shards.glob("*.bin")), tokens=64, context=16, rank=ranks.rank, world=ranks.world)
    spec = CLOCK if mode == "clock" else STEPS
    clocks = {"clock": SkewedClock(ranks.rank)} if mode == "clock" else {}
    optim = OPTIM if mode in ("steps", "clock") else replace(OPTIM, muon=MuonSpec(engine=mode))
    end = results / f"{mode}-rank{ranks.rank}"
    with EventLog(end.with_suffix(".jsonl"), stage="train") as log:
        result = train(model, spec, optim, batches, ranks, log, loops=MODEL.loops, **clocks)
    save_model(end.with_suffix(".safetensors"), model, {})
    end.with_suffix(".json").write_text(json.dumps([result.steps, result.reason, result.replay_steps]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    opened = open_ranks("cpu", timeout_s=90.0)
    for name in sys.argv[3:]:
        run(opened, Path(sys.argv[1]), Path(sys.argv[2]), name)
    close_ranks()
