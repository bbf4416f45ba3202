"""Matrices in batches, over threads and ranks, against one after the other."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from fairway.errors import GateError
from fairway.quant.batches import round_in_batches, stacked
from fairway.quant.gptq import gptq
from fairway.quant.pipeline import pack, rotate_gptq
from fairway.quant.plan import plan
from fairway.quant.rotation import rotations
from fairway.quant.rounding import Rounded
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import Lqer, Nearest, NoRotation

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
PARTS = {"q": (32, 32), "k": (16, 32), "v": (16, 32), "o": (32, 32), "up": (64, 32), "down": (32, 64)}


@pytest.fixture
def problem(toy, quant_spec):
    """Weights, Hessians and rotations of three layers and the embedding, and a vector that is kept."""
    draws = torch.Generator().manual_seed(0)
    shapes = {f"blocks.{layer}.{part}": shape for layer in range(3) for part, shape in PARTS.items()}
    shapes["embedding"] = (80, 32)
    shapes["bigram_embedding"] = (24, 16)  # a table of its own input and shape
    state = {name: torch.randn(shape, generator=draws) * 0.1 for name, shape in shapes.items()}
    inputs = {"q": 1, "k": 1, "v": 1, "o": 2, "up": 3, "down": 4, "embedding": 5, "bigram_embedding": 6}
    hessians = {}
    for name, shape in shapes.items():
        layer = int(name.split(".")[1]) if "." in name else 0
        hessians[name] = toy.correlated_hessian(shape[1], 10 * layer + inputs[name.split(".")[-1]])
    state["q_gain"] = torch.ones(3, 4)
    treatments = plan({name: tensor.shape for name, tensor in state.items()}, quant_spec)
    turns = rotations({name: tensor.shape for name, tensor in state.items()}, quant_spec.rotation)
    return treatments, state, hessians, turns, quant_spec


def same(one: Rounded, other: Rounded) -> bool:
    errors = (one.error_nearest, one.error_gptq) == (other.error_nearest, other.error_gptq)
    return errors and torch.equal(one.symbols, other.symbols) and torch.equal(one.steps, other.steps)


def test_stacks_read_one_input_and_batches_are_of_one_shape(problem):
    treatments, _, hessians, _, _ = problem
    batches = stacked([t for t in treatments if t.grid is not None], hessians)
    names = [[[t.name for t in stack] for stack in batch] for batch in batches]
    assert sorted(map(len, names)) == [1, 1, 3, 3, 3, 3]
    assert [[f"blocks.{layer}.{part}" for part in "qkv"] for layer in range(3)] in names
    assert [["blocks.0.down"], ["blocks.1.down"], ["blocks.2.down"]] in names


def test_matrices_that_read_one_input_must_have_one_hessian(problem):
    treatments, state, hessians, turns, quant = problem
    broken = hessians | {"blocks.1.v": hessians["blocks.1.o"]}
    with pytest.raises(GateError, match="Hessian of blocks.1.v must be that of blocks.1.q, which reads the same input"):
        round_in_batches(ALONE, treatments, state, broken, turns, quant)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_find_the_same_and_torch_has_as_many_afterwards(problem, threads):
    expected = round_in_batches(ALONE, *problem)
    torch.set_num_threads(threads)
    found = round_in_batches(ALONE, *problem)
    assert torch.get_num_threads() == threads
    assert found.keys() == expected.keys()
    for name in expected:
        assert all(same(a, b) for a, b in zip(found[name], expected[name], strict=True)), name


def test_an_error_of_one_thread_names_the_tensor_and_leaves_torch_its_threads(problem):
    treatments, state, hessians, turns, quant = problem
    torch.set_num_threads(3)
    broken = hessians | {"blocks.2.up": torch.diag(torch.tensor([1.0, -1.0] * 16))}
    with pytest.raises(GateError, match="tensor blocks.2.up: Hessian is not positive definite"):
        round_in_batches(ALONE, treatments, state, broken, turns, quant)
    assert torch.get_num_threads() == 3


def test_two_processes_find_what_one_does_bit_for_bit(problem, tmp_path):
    torch.save(problem, tmp_path / "problem.pt")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    workers = []
    for rank in ("0", "1"):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": rank, "LOCAL_RANK": rank}
        command = [sys.executable, str(Path(__file__).parent / "batches_worker.py"), str(tmp_path)]
        workers.append(subprocess.Popen(command, env=os.environ | place | {"WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}))
    try:
        assert [worker.wait(timeout=180) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    expected = round_in_batches(ALONE, *problem)
    for rank in (0, 1):
        found = torch.load(tmp_path / f"rank{rank}.pt", weights_only=False)
        assert found.keys() == expected.keys()
        for name in expected:
            assert all(same(a, b) for a, b in zip(found[name], expected[name], strict=True)), (rank, name)


@pytest.mark.parametrize(
    "changes",
    [{}, {"rounding": Nearest()}, {"rotation": NoRotation()}, {"correction": Lqer(rank=2, top=2, weighted=True)}],
    ids=["all", "nearest", "unrotated", "corrected"],
)
def test_a_model_in_batches_has_the_artifact_and_the_events_of_one_matrix_after_the_other(
    toy, model, quant_spec, changes, tmp_path
):
    quant = replace(quant_spec, codec="zlib", **changes)
    hessians = {}
    inputs = {"q": 1, "k": 1, "v": 1, "o": 2, "up": 3, "down": 4, "embedding": 5, "bigram_embedding": 6}
    for name, width in {"embedding": 48, **{f"blocks.{i}.{p}": 48 for i in range(4) for p in PARTS}}.items():
        layer, part = (int(name.split(".")[1]), name.split(".")[2]) if "." in name else (9, name)
        hessians[name] = toy.correlated_hessian(96 if part == "down" else width, 10 * layer + inputs[part])
    events, artifacts = [], []
    for name, rounds in (("one", None), ("many", partial(round_in_batches, ALONE))):
        with EventLog(tmp_path / f"{name}.jsonl", stage="rotate_gptq") as log:
            artifacts.append(pack(rotate_gptq(model, hessians, quant, log, rounds), quant, {}))
        entries = read_events(tmp_path / f"{name}.jsonl")
        events.append([{key: value for key, value in entry.items() if key != "t_s"} for entry in entries])
    assert artifacts[0] == artifacts[1]
    assert events[0] == events[1]


def test_symbols_of_the_batches_are_those_of_gptq_on_each_rotated_matrix(problem):
    treatments, state, hessians, turns, quant = problem
    found = round_in_batches(ALONE, treatments, state, hessians, turns, quant)
    grids = {t.name: t.grid for t in treatments}
    for name in ("embedding", "blocks.1.k", "blocks.2.down"):
        plain, turned = found[name]
        h = hessians[name]
        assert torch.equal(plain.symbols, gptq(state[name], h, plain.steps, grids[name], quant.rounding))
        part = {"embedding": None, "blocks.1.k": "attn_in", "blocks.2.down": "mlp_proj_in"}[name]
        if part is None:
            assert torch.equal(turned.symbols, plain.symbols)
            continue
        rotated_II = turns[part].T @ h @ turns[part]
        rotated = (state[name] @ turns[part], (rotated_II + rotated_II.T) / 2)
        assert torch.equal(turned.symbols, gptq(*rotated, turned.steps, grids[name], quant.rounding))
        assert not torch.equal(turned.symbols, plain.symbols)
