"""Training from start to end, on one process."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fairway.data.batches import Batch
from fairway.errors import GateError, RecipeError
from fairway.spec.model import NoLoops
from fairway.spec.optim import EmaAverage, LawaAverage, SwaAverage
from fairway.spec.train import LateReplay
from fairway.train.step import Stepper

REPLAY = LateReplay(start_scale=0.45, keep=3, epochs=2, lr_scale=0.1)


class Spy:
    """Looks over the shoulder of every step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[list[Batch], float, int]] = []
        self.weights: list[dict[str, Tensor]] = []
        step = Stepper.step

        def watched(stepper: Stepper, loss_fn: Any, micro: Any, *, lr_scale: float, momentum_step: int) -> Any:
            out = step(stepper, loss_fn, micro, lr_scale=lr_scale, momentum_step=momentum_step)
            self.calls.append((list(micro), lr_scale, momentum_step))
            self.weights.append({name: w.detach().clone() for name, w in stepper.parameters.items()})
            return out

        monkeypatch.setattr(Stepper, "step", watched)


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    return Spy(monkeypatch)


def same_batches(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(torch.equal(x.inputs_BT, y.inputs_BT) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("batching", ["packed", "contiguous"])
def test_every_parameter_moves_by_its_gradient_and_the_loss_falls(world: Any, batching: str) -> None:
    adam = replace(world.optim.adam, embed_weight_decay=0.0, scalar_weight_decay=0.0)
    optim = replace(world.optim, adam=adam, muon=replace(world.optim.muon, weight_decay=0.0))
    spec = replace(world.train, steps=24, batching=batching)
    outcome = world.run(spec, optim)
    for name, before in world.fresh_model().named_parameters():
        assert not torch.equal(dict(outcome.model.named_parameters())[name], before), name
    losses = [entry["loss_nats"] for entry in outcome.of("step")]
    assert losses[-1] < losses[0] - 0.3


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(world: Any) -> None:
    first, again, other = world.run(seed=1), world.run(seed=1), world.run(seed=2)
    assert first.same_weights(again)
    assert not first.same_weights(other)


def test_warm_up_leaves_no_trace_in_weights_moments_momentum_or_data(world: Any) -> None:
    cold = world.run()
    warm = world.run(replace(world.train, warmup_steps=3))
    assert cold.same_weights(warm)
    # Three steps in each loop state, before the clock starts.
    assert [entry["steps"] for entry in warm.of("warmup")] == [6]
    assert cold.of("warmup") == []
    plain = [{k: v for k, v in entry.items() if k in ("step", "loss_nats", "grad_norm")} for entry in cold.of("step")]
    assert plain == [{k: entry[k] for k in ("step", "loss_nats", "grad_norm")} for entry in warm.of("step")]


def test_counted_steps_are_all_made_and_logged_with_their_rates(world: Any, spy: Spy) -> None:
    outcome = world.run(optim=replace(world.optim, warmdown_fraction=0.5))
    assert (outcome.result.steps, outcome.result.reason) == (6, "steps")
    assert outcome.result.tokens == 6 * 128
    assert [scale for _, scale, _ in spy.calls] == pytest.approx([1, 1, 1, 1, 2 / 3, 1 / 3])
    assert [step for _, _, step in spy.calls] == [0, 1, 2, 3, 4, 5]
    assert [entry["event"] for entry in outcome.events] == [
        "start", "step", "step", "loops_on", "step", "step", "stop", "done",
    ]  # fmt: skip
    assert [(entry["step"], entry["steps"], entry["tokens"]) for entry in outcome.of("step")] == [
        (1, 6, 128), (2, 6, 256), (4, 6, 512), (6, 6, 768),
    ]  # fmt: skip
    (start,), (stop,), (done,), (switch,) = (outcome.of(name) for name in ("start", "stop", "done", "loops_on"))
    count = sum(parameter.numel() for parameter in outcome.model.parameters())
    assert (start["parameters"], start["world"], start["device"], start["steps"]) == (count, 1, "cpu", 6)
    assert (switch["step"], switch["fraction"]) == (3, 0.5)
    assert (stop["step"], stop["reason"]) == (6, "steps")
    assert (done["steps"], done["tokens"], done["reason"]) == (6, 768, "steps")
    assert done["train_s"] == outcome.result.train_s >= stop["train_s"] > 0
    assert done["peak_bytes"] > 10_000_000
    assert outcome.result.loss_nats == outcome.of("step")[-1]["loss_nats"]


def test_the_last_step_is_logged_even_between_two_log_lines(world: Any) -> None:
    outcome = world.run(replace(world.train, steps=5, log_every=4))
    assert [entry["step"] for entry in outcome.of("step")] == [1, 4, 5]


def test_by_the_clock_the_loop_ends_before_the_reserve_and_all_follows_the_seconds(
    world: Any, ticking: Any, spy: Spy
) -> None:
    # Every look at the clock is a second, and a step looks once: 25 s less 5 s are 20 steps.
    spec = replace(world.train, steps=None, budget_s=25.0, reserve_s=5.0)
    outcome = world.run(spec, replace(world.optim, warmdown_fraction=0.5), clock=ticking)
    assert (outcome.result.steps, outcome.result.reason) == (20, "clock")
    assert [entry["step"] for entry in outcome.of("loops_on")] == [10]
    assert outcome.of("step")[-1]["train_s"] == 20
    expected = [1.0] * 10 + [1 - i / 10 for i in range(10)]
    assert [scale for _, scale, _ in spy.calls] == pytest.approx(expected)


def test_the_clock_stops_counted_steps_too(world: Any, ticking: Any) -> None:
    outcome = world.run(replace(world.train, steps=50, budget_s=9.5, reserve_s=2.0), clock=ticking)
    assert (outcome.result.steps, outcome.result.reason) == (7, "clock")
    assert [entry["reason"] for entry in outcome.of("stop")] == ["clock"]


def test_without_loops_no_switch_is_made(world: Any) -> None:
    world.model = replace(world.model, loops=NoLoops())
    assert world.run().of("loops_on") == []


def test_the_model_ends_with_the_average_of_its_weights_over_all_steps(world: Any, spy: Spy) -> None:
    outcome = world.run(replace(world.train, replay=REPLAY), replace(world.optim, ema_decay=0.7))
    average = {name: weight.detach() for name, weight in world.fresh_model().named_parameters()}
    assert len(spy.weights) > 6
    for weights in spy.weights:
        average = {name: 0.7 * old + 0.3 * weights[name] for name, old in average.items()}
    for name, weight in outcome.model.named_parameters():
        torch.testing.assert_close(weight.detach(), average[name], rtol=1e-5, atol=1e-6)
        assert weight.grad is None


def test_replay_runs_over_the_last_batches_of_low_rate_again_at_its_own_rate(world: Any, spy: Spy) -> None:
    outcome = world.run(replace(world.train, steps=10, replay=REPLAY), replace(world.optim, warmdown_fraction=1.0))
    # Rates are 1, .9, ... .1: four are below .45, of which the last three are kept.
    loop, replayed = spy.calls[:10], spy.calls[10:]
    assert outcome.result.replay_steps == len(replayed) == 6
    for i, (micro, scale, _) in enumerate(replayed):
        assert scale == 0.1
        assert same_batches(micro, loop[7 + i % 3][0])
    (event,) = outcome.of("replay")
    assert (event["batches"], event["epochs"], event["steps"], event["planned"]) == (3, 2, 6, 6)
    assert event["cut_short"] is False
    assert outcome.result.steps == 10


def test_batches_of_a_high_rate_are_not_kept(world: Any) -> None:
    outcome = world.run(replace(world.train, replay=REPLAY), replace(world.optim, warmdown_fraction=0.0))
    assert outcome.result.replay_steps == 0
    assert [(entry["batches"], entry["cut_short"]) for entry in outcome.of("replay")] == [(0, False)]


def test_replay_leaves_calibration_its_seconds_and_says_that_it_was_cut_short(world: Any, ticking: Any) -> None:
    # 20 steps of 1 s, then 8 s of reserve. Calibration wants 2 micro-batches at twice half a second: 2 s. The looks at
    # the end of the loop and the start of replay take a second each, so 4 s are left.
    spec = replace(world.train, steps=None, budget_s=28.0, reserve_s=8.0, replay=replace(REPLAY, keep=5))
    outcome = world.run(spec, replace(world.optim, warmdown_fraction=1.0), clock=ticking)
    (event,) = outcome.of("replay")
    assert (event["steps"], event["planned"], event["cut_short"]) == (4, 10, True)
    assert event["calibration_s"] == 2.0
    assert outcome.result.steps == 20
    assert outcome.result.train_s + event["calibration_s"] <= spec.budget_s + 2  # two looks to log and to end


def test_a_run_that_diverges_stops_with_one_line(world: Any) -> None:
    model = world.fresh_model()
    with torch.no_grad():
        model.embedding[5] = float("nan")
    with pytest.raises(GateError, match="training diverged: step 1 has loss nan and gradient norm nan"):
        world.run(model=model)


def test_a_batch_that_the_processes_cannot_share_evenly_is_refused(world: Any) -> None:
    world.ranks = replace(world.ranks, world=3)
    with pytest.raises(RecipeError, match=r"batch_tokens \(128\) must be a multiple of .* \(64 \* 3\)"):
        world.run()


def test_training_ends_with_the_mean_of_snapshots_where_the_recipe_says_so(world):
    spec = replace(world.train, steps=6)
    averaged = {}
    for averaging in (EmaAverage(), SwaAverage(every=1, below_scale=0.3), LawaAverage(every=2, keep=1)):
        optim = replace(world.optim, averaging=averaging, ema_decay=0.0)
        averaged[averaging.kind] = world.run(spec, optim)
    plain = averaged["ema"]  # with decay 0, the last weights
    assert [one["snapshots"] for one in averaged["swa"].of("average")] == [1] and not plain.of("average")
    # The multiplier falls by 1/4.5 a step over the last three quarters: only the last step is below 0.3.
    assert averaged["swa"].same_weights(plain) and averaged["lawa"].same_weights(plain)
    two = world.run(spec, replace(world.optim, averaging=SwaAverage(every=1, below_scale=0.5), ema_decay=0.0))
    assert [one["snapshots"] for one in two.of("average")] == [2] and not two.same_weights(plain)


def test_replay_without_a_running_average_is_refused(world):
    spec = replace(world.train, replay=LateReplay())
    with pytest.raises(RecipeError, match="train.replay needs optim.averaging ema"):
        world.run(spec, replace(world.optim, averaging=SwaAverage()))


def test_prefetching_changes_nothing_but_who_reads(world):
    spec = replace(world.train, warmup_steps=1)
    assert world.run(spec).same_weights(world.run(replace(spec, prefetch=2)))


def test_a_decline_in_steps_is_what_the_log_shows(world):
    outcome = world.run(replace(world.train, steps=6, log_every=1), replace(world.optim, warmdown_steps=2))
    assert [entry["lr_scale"] for entry in outcome.of("step")] == pytest.approx([1.0] * 5 + [0.5])


def test_the_weights_of_the_last_step_can_be_had_beside_their_average(world):
    raw: dict[str, Any] = {}
    averaged = world.run(world.train, replace(world.optim, ema_decay=0.7), raw=raw)
    last = world.run(world.train, replace(world.optim, ema_decay=0.0))
    for name, weight in last.model.named_parameters():
        torch.testing.assert_close(raw[name], weight.detach(), rtol=0, atol=0)
    assert not averaged.same_weights(last)
