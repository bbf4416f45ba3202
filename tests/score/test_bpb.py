import math
import random

from hypothesis import given
from hypothesis import strategies as st

from fairway.score.bpb import Tally

PARTS = st.lists(st.floats(0, 1e6), min_size=1, max_size=50)


def tally_of(parts: list[float]) -> Tally:
    tally = Tally()
    for nats in parts:
        tally.add(nats=nats, tokens=3, size_bytes=7)
    return tally


def test_a_loss_of_one_bit_a_byte_is_one_bit_per_byte() -> None:
    tally = Tally()
    tally.add(nats=10 * math.log(2), tokens=4, size_bytes=10)
    assert math.isclose(tally.bpb, 1.0, rel_tol=1e-15)
    assert math.isclose(tally.loss_nats, 2.5 * math.log(2), rel_tol=1e-15)


@given(PARTS, st.randoms(use_true_random=False))
def test_the_sum_does_not_depend_on_the_order_of_spans(parts: list[float], random_order: random.Random) -> None:
    mixed = list(parts)
    random_order.shuffle(mixed)
    assert tally_of(mixed).nats == tally_of(parts).nats
    assert tally_of(mixed).bpb == tally_of(parts).bpb


def test_many_small_losses_lose_nothing_to_rounding() -> None:
    tally = tally_of([1e16] + [1.0] * 10_000 + [-1e16])
    assert tally.nats == 10_000.0
    assert tally.tokens == 3 * 10_002
    assert tally.size_bytes == 7 * 10_002
