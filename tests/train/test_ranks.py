"""Training on two processes."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fairway.runtime.events import read_events
from fairway.runtime.tensors import load_tensors


@dataclass
class Ended:
    """What one process left behind."""

    weights: dict[str, Tensor]
    steps: int
    reason: str
    replay_steps: int
    events: list[dict[str, Any]]

    def column(self, event: str, *fields: str) -> list[list[Any]]:
        return [[entry[field] for field in fields] for entry in self.events if entry["event"] == event]


def ended(folder: Path, mode: str, rank: int) -> Ended:
    end = folder / f"{mode}-rank{rank}"
    return Ended(
        load_tensors(end.with_suffix(".safetensors")),
        *json.loads(end.with_suffix(".json").read_text()),
        read_events(end.with_suffix(".jsonl")),
    )


def launch(shards: list[Path], folder: Path, world: int, *modes: str) -> None:
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, str(Path(__file__).parent / "worker.py"), str(shards[0].parent), str(folder), *modes]
    workers = []
    for rank in map(str, range(world)):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank}
        environment = os.environ | place | {"WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
        workers.append(subprocess.Popen(command, env=environment))
    try:
        assert [worker.wait(timeout=180) for worker in workers] == [0] * world
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


@pytest.fixture(scope="module")
def folder_of_two(shards: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two") / "results"
    launch(shards, folder, 2, "steps", "clock", "round_robin", "sharded")
    return folder


@pytest.fixture(scope="module")
def folder_of_one(shards: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "results"
    launch(shards, folder, 1, "steps", "round_robin", "sharded")
    return folder


@pytest.mark.parametrize("mode", ["steps", "round_robin", "sharded"])
def test_two_processes_end_with_the_weights_of_one_with_accumulation(
    folder_of_one: Path, folder_of_two: Path, mode: str
) -> None:
    alone = ended(folder_of_one, "steps", 0)
    pair = [ended(folder_of_two, mode, rank) for rank in (0, 1)]
    assert alone.column("start", "world", "micro_steps") == [[1, 2]]
    for one_of_two in pair:
        assert one_of_two.column("start", "world", "micro_steps") == [[2, 1]]
        assert (one_of_two.steps, one_of_two.replay_steps) == (alone.steps, alone.replay_steps) == (6, 2)
        assert one_of_two.weights.keys() == alone.weights.keys()
        for name, weight in one_of_two.weights.items():
            torch.testing.assert_close(weight, alone.weights[name], rtol=1e-4, atol=1e-5, msg=name)
            assert torch.equal(weight, pair[0].weights[name]), name
        seen, expected = (run.column("step", "loss_nats", "grad_norm", "tokens") for run in (one_of_two, alone))
        torch.testing.assert_close(torch.tensor(seen), torch.tensor(expected), rtol=1e-4, atol=1e-5)
        assert min(norm for _, norm, _ in seen) > 0.05  # else the clip would have been idle


@pytest.mark.parametrize("mode", ["round_robin", "sharded"])
def test_on_one_process_every_engine_makes_the_same_step(folder_of_one: Path, mode: str) -> None:
    plain, shared = ended(folder_of_one, "steps", 0), ended(folder_of_one, mode, 0)
    for name, weight in shared.weights.items():
        torch.testing.assert_close(weight, plain.weights[name], rtol=1e-4, atol=1e-5, msg=name)


def test_ranks_with_skewed_clocks_stop_at_the_same_step_with_the_same_weights(folder_of_two: Path) -> None:
    first, second = (ended(folder_of_two, "clock", rank) for rank in (0, 1))
    assert (first.steps, first.reason, first.replay_steps) == (second.steps, second.reason, second.replay_steps)
    assert first.reason == "clock"
    assert 3 < first.steps < 22
    shared = {"loops_on": ("step", "train_s"), "step": ("step", "lr_scale", "train_s"), "stop": ("step",)}
    for event, fields in shared.items():
        assert first.column(event, *fields) == second.column(event, *fields) != []
    for name, weight in first.weights.items():
        assert torch.equal(weight, second.weights[name]), name
