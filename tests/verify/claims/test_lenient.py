import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.verify.claims.lenient import DEEPEST, parse

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON)
def test_what_is_json_is_read_as_it_is(value):
    text = json.dumps(value, ensure_ascii=False)
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return
    read = parse(data)
    assert read.parses and read.value == value


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything(data):
    read = parse(data)
    assert read.parses or read.problems


@given(st.text(alphabet='{}[]",:0123456789.eE+-\\unaNIfity \n\ufeff', max_size=80))
def test_nearly_json_raises_nothing_either(text):
    read = parse(text.encode())
    try:
        wanted = json.loads(text, parse_constant=lambda name: pytest.fail(name))
    except (ValueError, pytest.fail.Exception):
        return
    assert read.parses and (read.value == wanted or read.problems)


@pytest.mark.parametrize(
    ("data", "parses", "problem"),
    [
        (b'\xef\xbb\xbf{"a": 1}', False, ("begins with a byte-order mark", 1)),
        (b'{"a": 1}\n{"b": 2}', False, ("goes on after its value", 2)),
        (b'{"a":\nNaN}', False, ("NaN is not JSON", 2)),
        (b'{"a": "NaN",\n "b": -Infinity}', False, ("-Infinity is not JSON", 2)),
        (b'{"a": 1,\n "a": 2}', True, ("the key 'a' stands twice in one object", 2)),
        (b'{"a": 1e999}', True, ("the number 1e999 is too large", 1)),
        (b'{"a": ' + b"9" * 5000 + b"}", True, ("the integer 999999999999... has 5000 digits", 1)),
        (b'{"a": 1,}', False, ("is no JSON: Expecting property name enclosed in double quotes", 1)),
        (b'{"a":\n"\xff"}', False, ("is not UTF-8", 2)),
        (b'{"a": "\\ud800"}', True, ("holds a lone surrogate, which is no character", None)),
        (b"\x00", False, ("holds a null byte", 1)),
        (b"", False, ("is no JSON: Expecting value", 1)),
    ],
)
def test_what_is_wrong_is_said_with_its_line(data, parses, problem):
    read = parse(data)
    assert (read.parses, problem in read.problems) == (parses, True), read.problems


def test_nesting_of_a_hundred_thousand_is_refused_and_brackets_in_strings_are_not_counted():
    read = parse(b"[" * 100_000)
    assert read.value is None and read.problems == ((f"is nested deeper than {DEEPEST} levels", 1),)
    assert parse(json.dumps("[" * 1000).encode()).value == "[" * 1000


def test_of_a_broken_text_the_first_value_is_kept():
    assert parse(b'{"val_bpb": 1.1} trailing').value == {"val_bpb": 1.1}
