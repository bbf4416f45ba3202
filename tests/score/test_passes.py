import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from fairway.model.gpt import Gpt
from fairway.recipes.load import load_recipe
from fairway.recipes.locate import recipe_names
from fairway.runtime.events import EventLog, read_events
from fairway.runtime.ranks import Ranks
from fairway.score.evaluate import build_evaluator, evaluate
from fairway.score.passes import CONTROLS, LAYERED, PassStep, learned_rows
from fairway.score.steps import LearnStep, ScoreStep
from fairway.spec.roles import BANK
from fairway.spec.score import AheadPasses, ChunkPasses, Flat, Method, Pass, ScoreSpec, Sliding

LENGTHS = (13, 1, 30, 7, 2, 22, 15)
CONTEXT = 8
ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
CONTROL_PASS = Pass(weights="controls", optimizer="adam", lr=0.02, epochs=2)
LATE_PASS = Pass(weights="late", blocks=1, lr=0.05, epochs=1, up_rate=0.5, down_rate=3.0)


def spec_of(method: Method) -> ScoreSpec:
    return ScoreSpec(context=CONTEXT, batch_tokens=32, method=method, diagnostic=Flat(), budget_s=60.0)


def made(model: Any, method: Method) -> Any:
    return build_evaluator(model, spec_of(method), method, seed=3, looped=True, ranks=ALONE)


def chunked(**changes: Any) -> ChunkPasses:
    settings: dict[str, Any] = {"first": CONTROL_PASS, "then": LATE_PASS, "stride": 4, "chunk_tokens": 16}
    return ChunkPasses(**settings | {"batch_rows": 1} | changes)


def ahead(**changes: Any) -> AheadPasses:
    settings: dict[str, Any] = {"first": LATE_PASS, "stride": 4, "batch_rows": 2, "most_steps": 3}
    return AheadPasses(invalid=True, **settings | changes)


def test_each_row_of_a_chunk_is_learned_from_in_every_epoch_of_every_pass_once_it_is_scored(model: Any) -> None:
    steps = list(made(model, chunked()).plan(LENGTHS))
    targets, scored, turns = sum(LENGTHS) - 1, set(), []
    for step in steps:
        if isinstance(step, ScoreStep):
            scored |= {p for span in step.spans for p in range(span.start, span.stop)}
        else:
            assert {p for start, stop in step.spans for p in range(start, stop)} <= scored
            turns.append((step.turn, step.number, step.step, step.steps, step.spans))
    assert scored == set(range(1, targets + 1))
    rows = [((1, 9),), ((9, 17),)]
    assert turns[:6] == [(0, 0, i, 4, rows[i % 2]) for i in range(4)] + [(0, 1, i, 2, rows[i]) for i in range(2)]
    assert len(turns) == 6 * (-(-targets // 16) - 1)  # nothing is learned from the last chunk


def test_a_pass_is_the_optimizer_of_the_formula_on_its_part_of_the_weights(model: Any, streams: Any) -> None:
    """The slow twin: torch's optimizers over copies, rows that a pass leaves out put back after each step."""
    stream, method = streams(LENGTHS), made(model, chunked())
    steps = [step for step in method.plan(LENGTHS) if isinstance(step, PassStep)][:12]
    twin = copy.deepcopy(model).requires_grad_(True)
    named = dict(twin.named_parameters())
    adam = torch.optim.Adam([p for name, p in named.items() if any(c in name for c in CONTROLS)], lr=1.0)
    rates = {"up_bank": 0.5, "down_bank": 3.0}
    late = [name for name in named if learned_rows(name, named[name], 3, LATE_PASS) is not None]
    sgd = torch.optim.SGD([{"params": [named[name]]} for name in late], lr=1.0, momentum=0.9)
    for step in steps:
        inputs = [stream.tokens[a - 1 : b - 1].long() for a, b in step.spans]
        targets = [stream.tokens[a:b].long() for a, b in step.spans]
        method.update(step, inputs, targets)
        twin.zero_grad(set_to_none=True)
        nats = functional.cross_entropy(twin(inputs[0][None], looped=True)[0], targets[0])
        nats.backward()
        share = 0.5 * (1 + math.cos(math.pi * step.step / step.steps))
        if step.number == 0:
            learned, optimizer = [p for group in adam.param_groups for p in group["params"]], adam
            adam.param_groups[0]["lr"] = 0.02 * share
        else:
            learned, optimizer = [named[name] for name in late], sgd
            for name, group in zip(late, sgd.param_groups, strict=True):
                group["lr"] = 0.05 * share * rates.get(name, 1.0)
                if name.endswith("bank"):
                    for row in range(named[name].shape[0]):
                        if row % 3 != 2:
                            named[name].grad[row] = 0.0
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
    for name, tensor in method._model.state_dict().items():
        torch.testing.assert_close(tensor, named[name].detach(), rtol=1e-4, atol=1e-5)
    assert torch.equal(method._model.up_bank[:2], model.up_bank[:2])
    assert not torch.equal(method._model.up_bank[2], model.up_bank[2])


def test_without_a_rate_the_score_is_that_of_the_windows(model: Any, streams: Any, run_by_target: Any) -> None:
    still = chunked(first=Pass(lr=0.0), then=Pass(lr=0.0, optimizer="adam"))
    stream = streams(LENGTHS)
    plain = run_by_target(made(model, Sliding(stride=4)), stream)
    torch.testing.assert_close(run_by_target(made(model, still), stream), plain, rtol=1e-6, atol=1e-6)
    assert (run_by_target(made(model, chunked()), stream) - plain).abs().max() > 1e-3


def test_rates_that_shrink_begin_each_chunk_where_the_last_one_ended(model: Any) -> None:
    """A quarter of the rate, and a quarter of that: three steps a chunk, as #1048 ran."""
    method = made(model, chunked(first=Pass(lr=1.0, epochs=3), batch_rows=64, shrinks=True))
    shares: list[float] = []
    method._optimizers[0].step = lambda share, inputs, targets: shares.append(share)
    for step in method.plan(LENGTHS):
        if isinstance(step, PassStep) and step.number == 0:
            method.update(step, [], [])
    assert shares[:6] == pytest.approx([1.0, 0.75, 0.25, 0.25, 0.75 * 0.25, 0.0625])


@pytest.mark.parametrize("name", recipe_names())
def test_every_parameter_of_every_recipe_with_a_row_a_layer_is_known_by_name(name: str) -> None:
    spec = load_recipe(name).recipe.model
    with torch.device("meta"):
        for parameter, tensor in Gpt(spec).named_parameters():
            layered = parameter.endswith(BANK) or parameter in LAYERED
            if layered:
                assert tensor.shape[0] % spec.layers == 0
            elif tensor.shape[0] in (spec.layers, 2 * spec.layers):
                assert parameter.startswith(("skip_", "run_", "value_layer_scale"))


@pytest.mark.parametrize("order", ["drawn", "stream"])
def test_what_learns_ahead_goes_over_rows_of_the_whole_stream(model: Any, order: Any) -> None:
    method = made(model, ahead(order=order, first=Pass(lr=0.1, epochs=2)))
    steps = list(method.ahead(LENGTHS))
    assert len(steps) == 2 * 3 and steps == list(method.ahead(LENGTHS))
    for step in steps:
        (first, middle), (_, last) = step.spans
        assert (first - 1) % CONTEXT == 0 and (middle - first, last - middle) == (CONTEXT, CONTEXT)
    if order == "stream":
        assert [step.spans[0][0] for step in steps[:3]] == [1, 17, 33]
    else:
        assert len({step.spans for step in steps[:3]}) == 3
    assert not any(isinstance(step, LearnStep) for step in method.plan(LENGTHS))


def run_ahead(model: Any, stream: Any, folder: Path, method: AheadPasses) -> Any:
    with EventLog(folder / "events.jsonl", stage="evaluate") as events:
        return evaluate(
            model, stream.tokens, stream.bytes, spec_of(method), method,
            seed=3, looped=True, ledger_path=folder / "ledger.jsonl", events=events, name="final",
            artifact_sha256="0" * 64, ranks=ALONE,
        )  # fmt: skip


def test_the_ledger_of_what_learned_ahead_says_that_it_is_invalid(model: Any, streams: Any, tmp_path: Path) -> None:
    score = run_ahead(model, streams(LENGTHS), tmp_path, ahead(first=Pass(lr=0.2, epochs=3)))
    entries = [json.loads(line) for line in (tmp_path / "ledger.jsonl").read_text().splitlines()]
    assert entries[0]["method"]["invalid"] is True and entries[0]["method"]["kind"] == score.method == "ahead"
    assert [entry["kind"] for entry in entries[:10]] == ["open", *["learn"] * 9]
    assert {entry["kind"] for entry in entries[10:]} == {"score", "close"}
    assert [event["event"] for event in read_events(tmp_path / "events.jsonl")][0] == "invalid"


def test_who_learned_ahead_knows_the_targets(model: Any, streams: Any, tmp_path: Path) -> None:
    stream = streams(LENGTHS)
    learned = run_ahead(model, stream, tmp_path, ahead(batch_rows=11, first=Pass(optimizer="adam", lr=0.01, epochs=25)))
    still = run_ahead(model, stream, tmp_path, ahead(first=Pass(lr=0.0)))
    assert learned.bpb < still.bpb - 0.05


def test_nobody_learns_ahead_without_saying_that_it_is_invalid() -> None:
    with pytest.raises(TypeError, match="invalid"):
        AheadPasses(first=LATE_PASS)  # type: ignore[call-arg]
