import numpy as np
import pytest

from fairway.studies.acceptance import (
    AUDIT,
    CLAIMANTS,
    EQUAL_MEANS,
    WRITTEN,
    accepts,
    power,
    seeds_needed,
    share_accepted,
    welch_p,
)
from fairway.verify.statistics import welch

PLAIN = CLAIMANTS[0]
CLAIMANT = {each.key: each for each in CLAIMANTS}


def share(rule, claimant=PLAIN, **settings) -> float:
    return share_accepted(rule, claimant, **({"samples": 20_000, "seed": 7, "seeds": 3, "spread": 0.001} | settings))


def test_the_test_is_the_judges_own():
    generator = np.random.default_rng(5)
    new, old = generator.normal(1.0, 0.01, (20, 3)), generator.normal(1.01, 0.02, (20, 4))
    for margin in (0.0, 0.005):
        mine = welch_p(new, old, margin)
        assert mine == pytest.approx(
            [welch(a, b, margin=margin).p for a, b in zip(new.tolist(), old.tolist(), strict=True)], rel=1e-9
        )


@pytest.mark.parametrize("claimant", CLAIMANTS, ids=lambda each: each.key)
def test_noise_has_the_spread_it_says_and_no_mean(claimant):
    drawn = claimant.noise(np.random.default_rng(1), (400_000,))
    assert drawn.mean() == pytest.approx(0.0, abs=0.01)
    assert drawn.std() == pytest.approx(1.0, abs=0.1)


def test_at_the_margin_welch_with_three_seeds_keeps_its_promise_and_at_no_gain_by_far():
    assert 0.003 < share(WRITTEN, gain=0.005) < 0.01
    assert share(WRITTEN, gain=0.0) == 0.0
    assert share(WRITTEN, gain=0.005, seeds=10) == pytest.approx(0.01, abs=0.002)


def test_a_rule_without_margin_accepts_nothing_at_its_own_rate_and_choice_makes_it_more():
    assert share(AUDIT, gain=0.0) == pytest.approx(0.24, abs=0.02)
    assert share(AUDIT, CLAIMANT["best_attempt"], gain=0.0) > 0.5
    assert share(WRITTEN, CLAIMANT["best_runs"], gain=0.005) > 2 * share(WRITTEN, gain=0.005)


def test_the_margin_asked_of_the_mean_alone_protects_less_than_the_margin_in_the_test():
    settings = {"gain": 0.005, "spread": 0.002}
    assert share(EQUAL_MEANS, **settings) > 5 * share(WRITTEN, **settings)


@pytest.mark.parametrize(("gain", "seeds"), [(0.005, 3), (0.006, 5), (0.0075, 3), (0.0075, 10)])
def test_power_by_simulation_is_what_is_computed(gain, seeds):
    exact = power(WRITTEN, gain=gain, spread=0.001, seeds=seeds)
    assert share(WRITTEN, gain=gain, seeds=seeds) == pytest.approx(exact, abs=0.015)


def test_the_seeds_that_are_needed_are_the_fewest():
    needed = seeds_needed(WRITTEN, gain=0.01, spread=0.01, wanted=0.8)
    assert needed is not None
    assert power(WRITTEN, gain=0.01, spread=0.01, seeds=needed) >= 0.8
    assert power(WRITTEN, gain=0.01, spread=0.01, seeds=needed - 1) < 0.8
    assert share(WRITTEN, gain=0.01, spread=0.01, seeds=needed, samples=4000) == pytest.approx(0.8, abs=0.03)


def test_a_gain_within_the_margin_is_never_shown():
    assert seeds_needed(WRITTEN, gain=0.005, spread=0.001, wanted=0.8) is None


def test_power_refuses_a_rule_that_asks_for_more_than_it_tests():
    with pytest.raises(ValueError, match="asks for more"):
        power(EQUAL_MEANS, gain=0.01, spread=0.001, seeds=3)


def test_a_mean_that_is_not_lower_enough_is_refused_however_small_its_p():
    new, old = np.array([[1.0, 1.0001, 0.9999]]), np.array([[1.004, 1.0041, 1.0039]])
    assert not accepts(EQUAL_MEANS, new, old)[0]
    assert accepts(AUDIT, new, old)[0]
