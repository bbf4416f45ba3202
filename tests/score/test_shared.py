"""An evaluation that two processes share, against the same one by one process."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fairway.score.shared import dealt, stretches
from fairway.score.steps import LearnStep, ScoreStep
from fairway.score.windows import Span

WORKER = Path(__file__).parent / "shared_worker.py"


def launch(folder: Path, world: int) -> Path:
    folder.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    workers = []
    for rank in map(str, range(world)):
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": rank, "LOCAL_RANK": rank}
        environment = os.environ | place | {"WORLD_SIZE": str(world), "OMP_NUM_THREADS": "1"}
        workers.append(subprocess.Popen([sys.executable, str(WORKER), str(folder)], env=environment))
    try:
        assert [worker.wait(timeout=180) for worker in workers] == [0] * world
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launch(tmp_path_factory.mktemp("one") / "results", 1)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return launch(tmp_path_factory.mktemp("two") / "results", 2)


def entries(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("method", ["flat", "sliding", "lora"])
def test_where_nothing_is_learned_together_the_ledger_of_two_is_that_of_one_byte_for_byte(
    one: Path, two: Path, method: str
) -> None:
    alone = (one / f"{method}.rank0.ledger").read_bytes()
    assert [(two / f"{method}.rank{rank}.ledger").read_bytes() for rank in (0, 1)] == [alone, alone]


@pytest.mark.parametrize("method", ["chunks", "passes", "ahead"])
def test_ranks_that_learn_each_chunk_together_score_as_one_does(one: Path, two: Path, method: str) -> None:
    alone, shared = (entries(folder / f"{method}.rank0.ledger") for folder in (one, two))
    assert (two / f"{method}.rank0.ledger").read_bytes() == (two / f"{method}.rank1.ledger").read_bytes()
    assert [entry["kind"] for entry in shared] == [entry["kind"] for entry in alone]
    assert shared[-1]["nats"] == pytest.approx(alone[-1]["nats"], rel=1e-4)


def test_ranks_that_pause_together_lose_no_document_and_score_none_twice(one: Path, two: Path) -> None:
    assert (two / "phased.rank0.ledger").read_bytes() == (two / "phased.rank1.ledger").read_bytes()
    alone, shared = (entries(folder / "phased.rank0.ledger") for folder in (one, two))
    kinds = [(entry["kind"], entry.get("what")) for entry in alone]
    assert [(entry["kind"], entry.get("what")) for entry in shared] == kinds
    assert kinds.count(("learn", "sgd")) >= 2
    assert shared[0]["plan_sha256"] == alone[0]["plan_sha256"]
    moved = False
    for own, other in zip(alone, shared, strict=True):
        if own["kind"] == "score":
            assert [span[:3] for span in own["spans"]] == [span[:3] for span in other["spans"]]
            nats = [span[3] for span in own["spans"]]
            # The gradient of a pause is summed in another order, so the last bits of what follows may differ.
            assert [span[3] for span in other["spans"]] == pytest.approx(nats, rel=1e-4)
            moved |= [span[3] for span in entries_of_lora(one, own["spans"])] != nats
    assert moved


def entries_of_lora(folder: Path, spans: list[list[float]]) -> list[list[float]]:
    """The same spans as adapters alone scored them: what the pauses change shows against these."""
    known = {
        tuple(span[:3]): span
        for entry in entries(folder / "lora.rank0.ledger")
        if entry["kind"] == "score"
        for span in entry["spans"]
    }
    return [known[tuple(span[:3])] for span in spans]


def test_batches_that_begin_with_what_others_ended_with_are_dealt_out_whoever_is_faster(two: Path) -> None:
    batches = [
        [entry["batch"] for entry in entries(two / f"kept.rank{rank}.jsonl") if entry["event"] == "claimed"]
        for rank in (0, 1)
    ]
    assert batches == dealt(costs_of_batches(entries(two / "kept.rank0.ledger")), 2)
    assert (two / "kept.rank0.ledger").read_bytes() == (two / "kept.rank1.ledger").read_bytes()


def costs_of_batches(lines: list[dict[str, Any]]) -> list[int]:
    """Inputs of each batch's forwards, three times as many where they are learned from, counted from a ledger."""
    costs: list[int] = []
    learned: set[int] = set()
    for entry, after in zip(lines, lines[1:], strict=False):
        if entry["kind"] != "score":
            continue
        if not any(span[1] in learned for span in entry["spans"]):
            costs.append(0)
        going = {start for start, _ in after["spans"]} if after["kind"] == "learn" else set()
        learned = {stop for _, stop in after["spans"]} if going else set()
        for context, start, stop, *_ in entry["spans"]:
            costs[-1] += (stop - 1 - context) * (3 if start in going else 1)
    return costs


def test_ranks_whose_clocks_differ_stop_together_and_none_has_a_ledger(two: Path) -> None:
    told = [(two / f"late.rank{rank}.txt").read_text() for rank in (0, 1)]
    assert all("score.budget_s (60) is used up" in text for text in told)
    assert not list(two.glob("late.*.ledger"))
    logs = [entries(two / f"late.rank{rank}.jsonl") for rank in (0, 1)]
    assert [(log[-1]["event"], log[-1]["targets"]) for log in logs] == [("stopped", 0)] * 2
    # The rank whose seconds are gone begins nothing more; how far the other came until it heard is the day's.
    assert min(sum(entry["event"] == "claimed" for entry in log) for log in logs) <= 1


def test_the_faster_rank_takes_more_batches(two: Path) -> None:
    batches = [
        {entry["batch"] for entry in entries(two / f"lora.rank{rank}.jsonl") if entry["event"] == "claimed"}
        for rank in (0, 1)
    ]
    assert batches[0].isdisjoint(batches[1]) and batches[0] | batches[1] == set(range(6))
    assert len(batches[0]) > len(batches[1])


def test_a_plan_is_cut_behind_each_pass_of_sgd_and_before_each_batch() -> None:
    span = (Span(0, 1, 2),)
    own = [ScoreStep(span, chunk=0), LearnStep("lora", ((1, 2),)), ScoreStep(span, chunk=1)]
    sgd = [LearnStep("sgd", ((1, 2),), 0, 2), LearnStep("sgd", ((1, 2),), 1, 2)]
    first, second = stretches([*own, *own, *sgd, *own])
    assert [[number for number, _ in batch] for batch in first.batches] == [[0, 1, 2], [3, 4, 5]]
    assert first.together == sgd and second.together == []
    assert [[step for _, step in batch] for batch in second.batches] == [own]
