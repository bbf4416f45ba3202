import math

import pytest

from fairway.errors import DataError
from fairway.studies.catalogue import NAMES
from fairway.studies.claims import BY_NULL, RECOUNT, REFUTED, REPRODUCED, UNTESTABLE, Claim, judge, read_claims, recount


def claim(**changes) -> Claim:
    facts = {"pr": 1, "says": "Grass is green.", "number": "0.9", "because": "It was looked at."}
    return Claim(**(facts | changes))


NUMBERS = {"grass": {"green": 0.88, "painted": 0.9, "small": -0.01, "count": 4.0, "none": None}}


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({"measured": "green", "reproduced": (0.8, 1.0)}, REPRODUCED),
        ({"measured": "green", "reproduced": (0.9, 1.0)}, REFUTED),
        ({"measured": "green", "reproduced": (0.8, 1.0), "null": "painted", "explained": (0.85, 0.95)}, BY_NULL),
        ({"measured": "green", "reproduced": (0.8, 1.0), "null": "small", "explained": (0.85, 0.95)}, REPRODUCED),
        ({"measured": "small", "null": "painted", "within_null": True}, BY_NULL),
        ({"measured": "green", "null": "small", "within_null": True, "reproduced": (0.0, 0.5)}, REFUTED),
        ({"measured": "green", "reproduced": (0.8, 1.0), "enough": "count", "at_least": 4.0}, REPRODUCED),
        ({"measured": "green", "reproduced": (0.8, 1.0), "enough": "count", "at_least": 5.0}, UNTESTABLE),
        ({"measured": "none", "reproduced": (0.8, 1.0)}, UNTESTABLE),
        ({"measured": "blue", "reproduced": (0.8, 1.0)}, UNTESTABLE),
    ],
)
def test_a_verdict_follows_from_the_numbers(facts, verdict):
    assert judge(claim(study="grass", **facts), NUMBERS).verdict == verdict


def test_what_is_lacking_is_said():
    judged = judge(claim(study="grass", measured="blue", reproduced=(0.0, 1.0)), NUMBERS)
    assert judged.why == "grass gave no blue here. It was looked at."
    judged = judge(claim(study="grass", measured="green", reproduced=(0.0, 1.0), enough="count", at_least=9.0), NUMBERS)
    assert judged.why == "count is 4.0, 9 or more would do. It was looked at."
    assert judge(claim(), NUMBERS).why == "It was looked at."


def test_scores_are_counted_again():
    found = recount(claim(scores=(1.0, 1.1, 1.2), against=1.5))
    assert found["mean"] == pytest.approx(1.1)
    assert found["std"] == pytest.approx(0.1)
    assert found["gain_nats_per_byte"] == pytest.approx(0.4 * math.log(2))
    assert found["t"] == pytest.approx(0.4 / 0.1 * math.sqrt(3))
    assert found["p"] == pytest.approx(0.01015, abs=1e-4)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[[claim]]\npr = 1\nsays = 'x'\nnumber = '1'", "needs 'because'"),
        ("[[claim]]\ncolour = 'red'", "no key 'colour'"),
        ("[[claim]]\npr=1\nsays='x'\nnumber='1'\nbecause='y'\nreproduced=[2, 1]", "a lowest and a highest"),
        ("[[claim]]\npr=1\nsays='x'\nnumber='1'\nbecause='y'\nreproduced=[1, 2]", "name of the measured"),
        ("[[claim]]\npr=1\nsays='x'\nnumber='1'\nbecause='y'\nexplained=[1, 2]", "name of the null"),
        ("[[claim]]\npr=1\nsays='x'\nnumber='1'\nbecause='y'\nmeasured='z'", "go together"),
        ("[[claim]]\npr=1\nsays='x'\nnumber='1'\nbecause='y'\nscores=['z']", "lists of numbers"),
        ("nothing = 1", "cannot be read"),
    ],
)
def test_a_file_that_is_no_list_of_claims_is_refused(tmp_path, text, complaint):
    path = tmp_path / "claims.toml"
    path.write_text(text)
    with pytest.raises(DataError, match=complaint):
        read_claims(path)


def test_claims_name_studies_that_there_are_and_scores_where_they_are_counted():
    claims = read_claims()
    assert {each.pr for each in claims} == {1048, 212, 215, 1214, 1695}
    assert {each.study for each in claims} <= {"", RECOUNT, *NAMES}
    assert all(each.scores for each in claims if each.study == RECOUNT)
    assert all(each.says.endswith(".") and each.because.endswith(".") for each in claims)
