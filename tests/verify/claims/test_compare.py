import pytest

from fairway.verify.claims.compare import agrees, unit_of
from fairway.verify.strict_json import Written


@pytest.mark.parametrize(
    ("text", "unit"), [("1.08", 0.01), ("600", 1.0), ("1.0810", 1e-4), ("1e-5", 1e-5), ("600.0", 0.1)]
)
def test_the_last_digit_is_worth_its_place(text, unit):
    assert unit_of(Written(text)) == pytest.approx(unit)


@pytest.mark.parametrize(
    ("claimed", "shown", "same"),
    [
        ("1.0810", 1.08100288, True),
        ("1.08563", 1.085624802, True),  # off by one in the last digit
        ("1.15015359", 1.16660881, False),
        ("1.1", 1.1448, False),  # no score is compared to fewer than four decimals
        ("1.2064", 1.2064, True),
    ],
)
def test_scores_are_compared_as_they_are_written(claimed, shown, same):
    assert agrees(Written(claimed), shown, most=1e-4) is same


def test_half_a_unit_tells_a_rounding_from_a_neighbour():
    assert not agrees(Written("1.1929"), 1.1928, units=0.5)
    assert agrees(Written("1.20576485"), Written("1.206"), units=0.5)
