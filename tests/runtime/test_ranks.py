"""The processes of one run."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fairway.errors import FairwayError
from fairway.runtime.ranks import Ranks, open_ranks

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK")


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_a_lone_process_is_the_first_of_one_and_changes_nothing() -> None:
    ranks = open_ranks("cpu")
    assert ranks == Ranks(rank=0, world=1, device=torch.device("cpu"))
    tensor = torch.tensor([1.5, -2.0])
    ranks.mean_([tensor])
    ranks.sum_([tensor])
    ranks.broadcast_([tensor])
    ranks.barrier()
    assert tensor.tolist() == [1.5, -2.0]
    assert ranks.is_first
    assert (ranks.any(True), ranks.any(False), ranks.max(0.3)) == (True, False, 0.3)
    assert list(ranks.claim("all", 3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"WORLD_SIZE": "2", "RANK": "0"}, "LOCAL_RANK must be a whole number as torchrun sets it, got ''"),
        ({"WORLD_SIZE": "2", "RANK": "x", "LOCAL_RANK": "0"}, "RANK must be a whole number as torchrun sets it"),
        ({"WORLD_SIZE": "2", "RANK": "2", "LOCAL_RANK": "0"}, r"RANK must be below WORLD_SIZE \(2\), got 2"),
    ],
)
def test_a_half_set_environment_is_one_clear_error(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], complaint: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(FairwayError, match=complaint):
        open_ranks("cpu")


def test_two_processes_agree_on_sums_means_flags_and_the_first_ones_tensors(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = []
    for rank in ("0", "1"):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": rank, "LOCAL_RANK": rank}
        command = [sys.executable, str(Path(__file__).parent / "gloo_worker.py"), str(tmp_path)]
        workers.append(subprocess.Popen(command, env=os.environ | place | {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}))
    try:
        assert [worker.wait(timeout=180) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    seen = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    claimed = [own.pop("claimed") for own in seen]
    assert sorted(claimed[0] + claimed[1]) == list(range(40)) and all(own == sorted(own) for own in claimed)
    shared = {
        "claimed_alone": [],
        "world": 2,
        "sum": [[[1.0] * 3] * 2, 3, []],
        "mean": [[[0.5] * 2] * 3, [4.0]],
        "broadcast": [[[0.0] * 3] * 2, 1, []],
        "any": [True, False],
        "max": 1.1,
    }
    assert seen[0] == shared | {"rank": 0, "is_first": True}
    assert seen[1] == shared | {"rank": 1, "is_first": False}
