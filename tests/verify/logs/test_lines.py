import codecs
import hashlib
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.verify.logs import lines as module
from fairway.verify.logs.lines import LONGEST_LINE, Lines, bare


def read(data):
    lines = Lines(io.BytesIO(data))
    return [text for _, text in lines], lines


@pytest.mark.parametrize(
    "data",
    [
        b"one\ntwo\nthree",
        b"one\r\ntwo\r\nthree\r\n",
        codecs.BOM_UTF8 + b"one\ntwo\nthree\n",
        codecs.BOM_UTF16_LE + "one\ntwo\nthree\n".encode("utf-16-le"),
        codecs.BOM_UTF16_BE + "one\r\ntwo\r\nthree\r\n".encode("utf-16-be"),
        b"progress 1\rprogress 2\rone\ntwo\nthree\n",
        b"o\0ne\nt\0wo\nthree\n",
    ],
)
def test_lines_are_the_same_whatever_ends_and_encodes_them(data):
    assert read(data)[0] == ["one", "two", "three"]


def test_numbers_are_those_of_an_editor():
    assert list(Lines(io.BytesIO(b"a\n\nb\n"))) == [(1, "a"), (2, ""), (3, "b")]


def test_a_line_without_end_is_cut_and_told():
    texts, lines = read(b"x" * (3 * LONGEST_LINE) + b"\nlast\n")
    assert texts[-1] == "last"
    assert len(texts[0]) == LONGEST_LINE
    assert [line for _, line in lines.problems] == [1]


def test_a_line_over_many_chunks_counts_once(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
    lines = Lines(io.BytesIO(b"\n" + b"y" * 200_000 + b"\nend"))
    assert [number for number, _ in lines] == [1, 2, 3]


def test_the_middle_of_a_huge_log_is_passed_over_and_told(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    monkeypatch.setattr(module, "WINDOW_BYTES", 1000)
    data = b"".join(b"line %d\n" % number for number in range(1, 2001))
    lines = Lines(io.BytesIO(data))
    told = dict(lines)
    assert told[1] == "line 1" and told[2000] == "line 2000"
    assert all(text == f"line {number}" for number, text in told.items())
    assert len(told) < 400
    assert lines.sha256 == hashlib.sha256(data).hexdigest()
    assert "not read" in lines.problems[0][0]


def test_a_huge_line_over_the_middle_is_one_line(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    monkeypatch.setattr(module, "WINDOW_BYTES", 1000)
    lines = Lines(io.BytesIO(b"first\n" + b"x" * 9000 + b"\nlast\n"))
    assert dict(lines)[3] == "last"


@given(st.binary(max_size=300), st.integers(1, 7))
def test_chunks_do_not_change_the_lines(data, size):
    whole = list(Lines(io.BytesIO(data)))

    class Slow(io.BytesIO):
        def read(self, limit=-1):
            return super().read(size if limit == module.CHUNK_BYTES and self.tell() > 3 else max(limit, 4))

    class Head(Slow):
        def read(self, limit=-1):
            return io.BytesIO.read(self, 4 if self.tell() == 0 else size)

    assert list(Lines(Head(data))) == whole


@pytest.mark.parametrize(
    "line",
    [
        "1776142360.710 seed: 42",
        "[rank0]:seed: 42",
        "2026-04-01 12:13:14,567 INFO seed: 42",
        "[12:13:14] seed: 42",
        "\x1b[32mseed: 42\x1b[0m",
    ],
)
def test_what_launchers_put_before_a_line_is_taken_off(line):
    assert bare(line).strip() == "seed: 42"
