"""The run's log."""

import json
from pathlib import Path

import pytest

from fairway.errors import DataError, GateError
from fairway.runtime.events import EventLog, read_events, render


def test_what_was_emitted_is_read_back_with_stage_and_seconds(tmp_path: Path) -> None:
    ticks = iter([10.0, 10.5, 12.0])
    path = tmp_path / "deep" / "train.events.jsonl"
    with EventLog(path, stage="train", clock=lambda: next(ticks)) as log:
        log.emit("start", parameters=7, steps=None)
        log.emit("tensor", name="é", nested={"a": [1.5]})
    assert read_events(path) == [
        {"stage": "train", "event": "start", "t_s": 0.5, "parameters": 7, "steps": None},
        {"stage": "train", "event": "tensor", "t_s": 2.0, "name": "é", "nested": {"a": [1.5]}},
    ]


def test_the_log_has_its_name_only_after_a_clean_end_and_each_line_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    with pytest.raises(RuntimeError, match="cut"), EventLog(path, stage="train") as log:
        log.emit("start")
        assert len(read_events(tmp_path / "events.jsonl.part")) == 1
        raise RuntimeError("cut")
    assert not path.exists()
    with EventLog(path, stage="train") as log:
        log.emit("again")
    assert [entry["event"] for entry in read_events(path)] == ["again"]
    assert [file.name for file in tmp_path.iterdir()] == ["events.jsonl"]


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"loss": float("nan")}, "step.loss=nan"),
        ({"rows": [{"x": 1.0}, {"x": float("inf")}]}, r"step.rows\[1\].x=inf"),
    ],
)
def test_numbers_that_are_not_finite_are_refused_by_name_and_nothing_is_written(
    tmp_path: Path, fields: dict[str, object], where: str
) -> None:
    path = tmp_path / "events.jsonl"
    with EventLog(path, stage="train") as log, pytest.raises(GateError, match=where):
        log.emit("step", **fields)
    assert read_events(path) == []


def test_training_steps_are_shown_as_the_published_logs_show_them() -> None:
    step = {"stage": "train", "event": "step", "t_s": 1.0, "step": 50, "steps": 400, "loss_nats": 3.14159}
    step |= {"train_s": 1.2341, "step_avg_ms": 24.682}
    assert render(step) == "step:50/400 train_loss:3.1416 train_time:1234ms step_avg:24.68ms"
    assert render(step | {"steps": None}) == "step:50/? train_loss:3.1416 train_time:1234ms step_avg:24.68ms"


def test_other_events_are_shown_as_words_and_tensor_rows_not_at_all() -> None:
    entry = {"stage": "evaluate", "event": "score", "t_s": 1.0, "name": "final", "val_bpb": 1.06145123, "tokens": 5}
    assert render(entry) == "evaluate: score name:final val_bpb:1.0614512 tokens:5"
    assert render({"stage": "compress", "event": "tensor", "t_s": 1.0, "name": "blocks.0.q"}) is None


def test_lines_for_people_are_echoed_and_a_log_without_a_path_writes_nothing(tmp_path: Path) -> None:
    lines: list[str] = []
    with EventLog(None, stage="train", echo=lines.append) as log:
        log.emit("start", world=2, cut=True, steps=None)
        log.emit("hessian", name="blocks.0.q")
    assert lines == ["train: start world:2 cut:true steps:null"]
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_log_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    good = json.dumps({"stage": "s", "event": "e", "t_s": 0})
    for bad, complaint in (("{", "not JSON"), ("[1]", "an event is an object"), ('{"event": "e"}', "an event is")):
        path.write_text(f"{good}\n{bad}\n")
        with pytest.raises(DataError, match=f"events.jsonl:2: {complaint}"):
            read_events(path)
    with pytest.raises(DataError, match="missing.jsonl: cannot be read"):
        read_events(tmp_path / "missing.jsonl")


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    path = tmp_path / "events.jsonl"
    path.with_name("events.jsonl.part").symlink_to("/dev/full")
    complaint = "events.jsonl: cannot be written: No space left on device"
    with pytest.raises(DataError, match=complaint), EventLog(path, stage="train") as log:
        log.emit("start")
    assert not path.exists()
