import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from submissions import TARGETS, VAL_BYTES, track_named

from fairway.verify.logs.denominator import compared, implied_bytes, judged
from fairway.verify.logs.facts import LogFacts, ScoreLine

SET = track_named().validation


def line(loss, counted, tokens=TARGETS, digits=8):
    bpb = round(loss / math.log(2) * tokens / counted, digits)
    return ScoreLine(label="final", val_loss=round(loss, digits), val_bpb=bpb, digits=digits, eval_s=None, line=1)


def outcome(counted, tokens=TARGETS, digits=8):
    told = judged(SET, LogFacts(file="x", val_tokens=tokens), line(1.9, counted, tokens, digits))
    return None if told is None else told.outcome


@given(st.floats(0.5, 5.0), st.integers(10**6, 10**8), st.integers(10**6, 10**9))
def test_bytes_follow_from_loss_and_score(loss, tokens, counted):
    found = implied_bytes(tokens, line(loss, counted, tokens, digits=12))
    assert found == pytest.approx(counted, rel=1e-6)


@pytest.mark.parametrize("digits", [4, 8])
def test_the_set_is_known_by_its_bytes_whatever_the_tokenizer(digits):
    assert outcome(VAL_BYTES, digits=digits) == "whole"
    assert outcome(VAL_BYTES, tokens=61_000_000, digits=digits) == "whole"


def test_a_tail_in_whole_sequences_may_be_dropped():
    tokens = TARGETS // 32_768 * 32_768
    assert outcome(VAL_BYTES * tokens // TARGETS, tokens) == "whole"


def test_a_former_set_is_known(tmp_path):
    assert outcome(155_769_746, 63_779_840) == "former"


@pytest.mark.parametrize(("ratio", "signature"), [(1.167, "leading space"), (1.041, "byte-fallback"), (1.5, "")])
def test_bytes_too_many_are_named_after_known_faults(ratio, signature):
    told = compared(SET, round(SET.bytes * ratio), TARGETS, SET.tolerance)
    assert told.outcome == "more"
    assert signature in told.signature
    assert bool(signature) == bool(told.signature)


def test_a_part_is_a_part():
    assert outcome(30_000_000, 9_662_464) == "part"


def test_three_digits_say_nothing():
    assert outcome(VAL_BYTES, digits=2) is None
    assert judged(SET, LogFacts(file="x"), line(1.9, VAL_BYTES)) is None


def test_a_loss_per_byte_tells_no_bytes():
    assert outcome(TARGETS) == "per_byte"
