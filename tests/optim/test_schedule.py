"""Rate and momentum as functions of progress."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.optim.schedule import momentum_at, rate_scale, stepped_rate_scale
from fairway.spec.optim import AdamSpec, MuonSpec, OptimSpec

OPTIM = OptimSpec(muon=MuonSpec(), adam=AdamSpec())
shares = st.floats(0.0, 1.0)


@given(progress=shares, later=shares, warmdown=shares, min_lr=st.floats(0.0, 0.5))
def test_the_rate_never_rises_and_stays_between_its_floor_and_one(
    progress: float, later: float, warmdown: float, min_lr: float
) -> None:
    spec = replace(OPTIM, warmdown_fraction=warmdown, min_lr=min_lr)
    early, late = (rate_scale(at, spec) for at in sorted((progress, later)))
    assert min_lr <= late <= early <= 1.0


@given(warmdown=st.floats(0.01, 1.0), share=shares)
def test_the_rate_is_flat_and_then_falls_in_a_line_to_zero_at_the_end(warmdown: float, share: float) -> None:
    spec = replace(OPTIM, warmdown_fraction=warmdown)
    assert rate_scale((1.0 - warmdown) * share, spec) == pytest.approx(1.0)
    assert rate_scale(1.0 - warmdown * share, spec) == pytest.approx(share)


def test_without_warm_down_the_rate_is_constant() -> None:
    spec = replace(OPTIM, warmdown_fraction=0.0)
    assert [rate_scale(at, spec) for at in (0.0, 0.5, 1.0)] == [1.0, 1.0, 1.0]


def test_momentum_rises_in_a_line_to_its_value_and_stays() -> None:
    spec = MuonSpec(momentum_start=0.85, momentum=0.95, momentum_warmup_steps=100)
    expected = [0.85, 0.9, 0.95, 0.95]
    assert [momentum_at(step, spec) for step in (0, 50, 100, 10_000)] == pytest.approx(expected)
    assert momentum_at(0, replace(spec, momentum_warmup_steps=0)) == 0.95


@pytest.mark.parametrize("step_s", [0.1, 0.3])
def test_a_decline_in_steps_is_the_rest_of_the_budget_over_the_time_of_those_steps(step_s: float) -> None:
    spec, total_s = replace(OPTIM, warmdown_steps=40, min_lr=0.05), 20.0
    for steps in range(1, int(total_s / step_s)):
        elapsed_s = steps * step_s
        remaining_s, decline_s = total_s - elapsed_s, 40 * step_s
        wanted = max(remaining_s / decline_s, 0.05) if remaining_s <= decline_s else 1.0
        assert stepped_rate_scale(elapsed_s / total_s, steps, spec) == pytest.approx(wanted)


def test_a_decline_in_counted_steps_covers_the_last_so_many_of_them() -> None:
    spec = replace(OPTIM, warmdown_steps=4, min_lr=0.0)
    scales = [stepped_rate_scale(step / 10, step, spec) for step in range(10)]
    assert scales == pytest.approx([1.0] * 7 + [0.75, 0.5, 0.25])
