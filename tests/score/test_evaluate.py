import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from fairway.errors import DataError
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks
from fairway.score.evaluate import Score, evaluate
from fairway.spec.score import DocumentLora, Flat, Method, PhasedSgd, ScoreSpec, Sliding

LENGTHS = (13, 1, 18, 7, 2, 12, 15, 5)
LORA = DocumentLora(rank=2, chunk=4, batch_docs=2, lr=0.01)
METHODS: list[Method] = [
    Flat(),
    Sliding(stride=3),
    LORA,
    PhasedSgd(lora=LORA, prefix_docs=6, phases=2, lr=0.05, chunk_tokens=24, context=10),
]


def run(model: Any, stream: Any, method: Method, folder: Path, seed: int = 5) -> Score:
    spec = ScoreSpec(context=12, batch_tokens=32, method=method, diagnostic=Flat(), budget_s=60.0)
    with EventLog(folder / "events.jsonl", stage="evaluate") as events:
        return evaluate(
            model,
            stream.tokens,
            stream.bytes,
            spec,
            method,
            seed=seed,
            looped=True,
            ledger_path=folder / "ledger.jsonl",
            events=events,
            name="final",
            artifact_sha256="ab" * 32,
            ranks=Ranks(rank=0, world=1, device=torch.device("cpu")),
        )


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_score_events_and_ledger_say_the_same(method: Method, model: Any, streams: Any, tmp_path: Path) -> None:
    stream = streams(LENGTHS)
    score = run(model, stream, method, tmp_path)
    entries = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    events = read_events(tmp_path / "events.jsonl")
    assert score.tokens == entries[-1]["targets"] == sum(LENGTHS) - 1
    assert score.bytes == entries[-1]["bytes"] == int(stream.bytes[1:].sum())
    assert score.loss_nats == entries[-1]["nats"] / score.tokens
    assert score.bpb == entries[-1]["nats"] / math.log(2) / score.bytes
    assert score.ledger_head == entries[-1]["hash"]
    assert entries[0]["artifact_sha256"] == "ab" * 32
    assert entries[0]["method"]["kind"] == method.kind == score.method
    assert events[-1]["event"] == "score"
    assert (events[-1]["val_loss"], events[-1]["val_bpb"]) == (score.loss_nats, score.bpb)
    progress = [event for event in events if event["event"] == "scored"]
    assert 1 <= len(progress) <= 50
    assert progress[-1]["targets"] == progress[-1]["of"] == score.tokens
    assert progress[-1]["bpb"] == score.bpb
    learned = {entry["what"] for entry in entries if entry["kind"] == "learn"}
    assert learned == {"lora": {"lora"}, "phased": {"lora", "sgd"}}.get(method.kind, set())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
def test_the_same_seed_writes_the_same_ledger(method: Method, model: Any, streams: Any, tmp_path: Path) -> None:
    ledgers = []
    for number, seed in enumerate((5, 5, 6)):
        run(model, streams(LENGTHS), method, tmp_path / str(number), seed)
        ledgers.append((tmp_path / str(number) / "ledger.jsonl").read_bytes())
    assert ledgers[0] == ledgers[1] != ledgers[2]


def test_the_model_is_handed_back_as_it_came(model: Any, streams: Any, tmp_path: Path) -> None:
    trainable = copy.deepcopy(model).requires_grad_(True)
    run(trainable, streams(LENGTHS), METHODS[-1], tmp_path)
    for name, parameter in trainable.named_parameters():
        assert parameter.requires_grad
        assert parameter.grad is None
        assert torch.equal(parameter, model.get_parameter(name))


def test_a_stream_that_begins_in_the_middle_of_a_document_is_refused(model: Any, streams: Any, tmp_path: Path) -> None:
    stream = streams(LENGTHS).changed_at(0)
    with pytest.raises(DataError, match="begins with BOS"):
        run(model, stream, Flat(), tmp_path)
    assert not (tmp_path / "ledger.jsonl").exists()
