"""A world small enough to train in a blink: two shards of made-up documents, a model with every mechanism on."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fairway.data.batches import TokenBatches, contiguous_batches, packed_batches
from fairway.data.shards import write_shard
from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.spec.optim import AdamSpec, MuonSpec, OptimSpec
from fairway.spec.train import TrainSpec
from fairway.train.loop import TrainResult, train

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
TRAIN = TrainSpec(
    context=16,
    batch_tokens=128,
    micro_batch_tokens=64,
    budget_s=1e6,
    reserve_s=1e3,
    steps=6,
    warmup_steps=0,
    compile=False,
    calibration_batches=2,
    log_every=2,
)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Documents of 3 to 40 tokens, each a noisy count upwards, in two shards."""
    folder = tmp_path_factory.mktemp("train")
    random = np.random.default_rng(0)
    files = []
    for number in range(2):
        tokens: list[int] = []
        while len(tokens) < 3000:
            steps = random.integers(1, 3, size=random.integers(2, 40))
            tokens += [1, *(4 + np.cumsum(steps) % 28).tolist()]
        files.append(folder / f"fineweb_train_{number:06d}.bin")
        write_shard(files[-1], np.array(tokens, dtype=np.uint16))
    return files


@dataclass
class Outcome:
    """A finished run: its model, result and log."""

    model: Gpt
    result: TrainResult
    events: list[dict[str, Any]]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events if entry["event"] == event]

    def same_weights(self, other: "Outcome") -> bool:
        theirs = dict(other.model.named_parameters())
        return all(torch.equal(mine, theirs[name]) for name, mine in self.model.named_parameters())


@dataclass
class World:
    """Trains the small model on the small shards."""

    shards: list[Path]
    folder: Path
    model: ModelSpec = MODEL
    optim: OptimSpec = OPTIM
    train: TrainSpec = TRAIN
    ranks: Ranks = field(default_factory=lambda: Ranks(0, 1, torch.device("cpu")))

    def fresh_model(self, seed: int = 0) -> Gpt:
        model = Gpt(self.model)
        initialise(model, seed)
        return model

    def batches(self, spec: TrainSpec) -> TokenBatches:
        kind = packed_batches if spec.batching == "packed" else contiguous_batches
        return kind(self.shards, tokens=spec.micro_batch_tokens, context=spec.context)

    def run(
        self,
        spec: TrainSpec = TRAIN,
        optim: OptimSpec = OPTIM,
        *,
        seed: int = 0,
        clock: Callable[[], float] | None = None,
        model: Gpt | None = None,
        raw: dict[str, torch.Tensor] | None = None,
    ) -> Outcome:
        model = self.fresh_model(seed) if model is None else model
        path = self.folder / "train.events.jsonl"
        with EventLog(path, stage="train") as log:
            clocks = {} if clock is None else {"clock": clock}
            result = train(
                model, spec, optim, self.batches(spec), self.ranks, log, loops=self.model.loops, raw=raw, **clocks
            )
        return Outcome(model, result, read_events(path))


@pytest.fixture
def world(shards: list[Path], tmp_path: Path) -> World:
    return World(shards, tmp_path)


class Ticking:
    """A clock that is one second later at each look."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self) -> float:
        self.looks += 1
        return float(self.looks)


@pytest.fixture
def ticking() -> Ticking:
    return Ticking()
