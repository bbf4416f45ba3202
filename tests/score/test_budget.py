import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fairway.errors import GateError
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks
from fairway.score.budget import Watch, work
from fairway.score.evaluate import evaluate
from fairway.score.shared import dealt
from fairway.score.steps import LearnStep, ScoreStep
from fairway.score.windows import Span
from fairway.spec.score import DocumentLora, Flat, Method, PhasedSgd, ScoreSpec

LENGTHS = (13, 1, 18, 7, 2, 12, 15, 5)
LORA = DocumentLora(rank=2, chunk=4, batch_docs=2, lr=0.01)
PHASED = PhasedSgd(lora=LORA, prefix_docs=6, phases=2, lr=0.05, chunk_tokens=24, context=10)


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that goes on by so much whenever it is looked at."""
    now = -seconds

    def clock() -> float:
        nonlocal now
        now += seconds
        return now

    return clock


def run(model: Any, stream: Any, method: Method, folder: Path, budget_s: float, clock: Callable[[], float]) -> Any:
    spec = ScoreSpec(context=12, batch_tokens=32, method=method, diagnostic=Flat(), budget_s=budget_s)
    with EventLog(folder / "events.jsonl", stage="evaluate") as events:
        return evaluate(
            model, stream.tokens, stream.bytes, spec, method,
            seed=5, looped=True, ledger_path=folder / "ledger.jsonl", events=events, name="final",
            artifact_sha256="0" * 64, ranks=Ranks(rank=0, world=1, device=torch.device("cpu")), clock=clock,
        )  # fmt: skip


@pytest.mark.parametrize("method", [LORA, PHASED], ids=lambda method: method.kind)
def test_an_evaluation_whose_seconds_are_used_up_ends_without_a_score(
    method: Method, model: Any, streams: Any, tmp_path: Path
) -> None:
    with pytest.raises(
        GateError, match=r"score.budget_s \(10\) is used up after 1\d.0 s with \d+ of 72 targets scored"
    ):
        run(model, streams(LENGTHS), method, tmp_path, 10.0, ticking(1.0))
    assert not (tmp_path / "ledger.jsonl").exists() and not (tmp_path / "events.jsonl").exists()
    events = read_events(tmp_path / "events.jsonl.part")
    assert [event["event"] for event in events if event["event"] == "score"] == []
    last = events[-1]
    assert last["event"] == "stopped" and 0 <= last["targets"] < last["of"] == 72 and last["seconds"] > 10.0
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "ledger.jsonl.part").read_text().splitlines()]
    assert "close" not in kinds


def test_a_forecast_warns_early_and_a_fair_one_says_that_it_fits(model: Any, streams: Any, tmp_path: Path) -> None:
    for name, tick, fits in (("slow", 100.0, False), ("fast", 0.01, True)):
        folder = tmp_path / name
        budget_s = 1000.0
        if fits:
            run(model, streams(LENGTHS), LORA, folder, budget_s, ticking(tick))
        else:
            with pytest.raises(GateError):
                run(model, streams(LENGTHS), LORA, folder, budget_s, ticking(tick))
        events = read_events(next(folder.glob("events.jsonl*")))
        forecasts = [event for event in events if event["event"] == "forecast"]
        assert [event["fits"] for event in forecasts] == [fits] * len(forecasts) and forecasts
        assert all((event["seconds"] <= budget_s) is fits for event in forecasts)
        assert "forecast" in [event["event"] for event in events[:2]]


def test_a_forecast_of_even_work_is_right(tmp_path: Path) -> None:
    now = 0.0
    steps = [ScoreStep((Span(i, i + 1, i + 5),)) for i in range(0, 400, 4)]
    with EventLog(tmp_path / "events.jsonl", stage="evaluate") as events:
        watch = Watch(60.0, events, world=2, clock=lambda: now)
        watch.begin(steps, 400)
        for step in steps[::2]:  # the other process takes the other half
            now += 1.0
            watch.took(step)
    forecasts = [event["seconds"] for event in read_events(tmp_path / "events.jsonl")]
    assert forecasts == pytest.approx([50.0, 50.0])


def test_what_is_learned_from_counts_three_times() -> None:
    spans = (Span(0, 1, 5), Span(10, 13, 15))
    assert work(ScoreStep(spans)) == 4 + 4
    assert work(ScoreStep(spans, learns=1)) == 3 * 4 + 4
    assert work(LearnStep("sgd", ((1, 5), (7, 9)))) == 3 * 6
    assert work(LearnStep("lora", ((1, 5),))) == 0  # its forward is counted where it scores


def test_work_is_dealt_to_whoever_has_least() -> None:
    assert dealt([9, 5, 4, 3, 3, 1], 2) == [[0, 3, 5], [1, 2, 4]]
    assert dealt([], 3) == [[], [], []]
    assert dealt([2, 2, 2], 1) == [[0, 1, 2]]
