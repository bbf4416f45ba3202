import base64
import bz2
import lzma
import random
import zlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.verify.unpack import SOURCE_LIMIT_BYTES, CannotUnpack, Program, repacked, unpack

_DICE = random.Random(3)
TEXT = "import sys\n" + "".join(f"print('ä', sys.argv[{_DICE.randrange(10**9)}])\n" for _ in range(40))

_LZMA1 = {"id": lzma.FILTER_LZMA1, "preset": 9, "lc": 0, "lp": 1, "pb": 2}
_RAW = "import lzma,base64 as b\nexec(lzma.decompress(b.b85decode('{}'),3,None,[dict(id=33)]))"
STUBS = {
    "brotli": ("import brotli,base64 as b\nexec(brotli.decompress(b.b85decode('{}')))", brotli.compress),
    "xz": ("import lzma,base64 as b\nexec(lzma.decompress(b.b85decode('{}')))", lzma.compress),
    "lzma1": (_RAW, lambda raw: lzma.compress(raw, lzma.FORMAT_RAW, filters=[_LZMA1])),
    "lzma2": (_RAW, lambda raw: lzma.compress(raw, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2}])),
    "zlib": ("from zlib import decompress as d\nfrom base64 import b85decode as b\nexec(d(b('{}')))", zlib.compress),
    "bz2": ("import bz2,base64\nexec(compile(bz2.decompress(base64.b85decode(b'{}')),'x','exec'))", bz2.compress),
}


@pytest.mark.parametrize("name", STUBS)
def test_what_a_stub_holds_is_found_whatever_packed_it(name):
    stub, compress = STUBS[name]
    file = stub.replace("{}", base64.b85encode(compress(TEXT.encode())).decode()).encode()
    found = unpack(file)
    assert found.text == TEXT and len(found.layers) == 1


def test_a_file_that_is_its_own_source_has_no_layers():
    assert unpack(TEXT.encode()) == Program(TEXT, ())


def test_a_stub_in_a_stub_is_followed_to_the_end():
    inner = repacked(TEXT)
    stub = "import zlib,base64\nexec(zlib.decompress(base64.b64decode('{}')))"
    outer = stub.replace("{}", base64.b64encode(zlib.compress(inner)).decode()).encode()
    found = unpack(outer)
    assert found.text == TEXT and found.layers == ("b64decode zlib", "b85decode brotli")


def test_nothing_is_run(tmp_path):
    trap = tmp_path / "sprung"
    text = f"open({str(trap)!r}, 'w').close()\n" * 20
    assert unpack(repacked(text)).text == text
    assert not trap.exists()


@pytest.mark.parametrize(
    "file",
    [
        b"exec(open('elsewhere').read())",
        b"\xff\xfe",
        b"def f(:",
        b"# coding: latin-1\nexec('')",
        b"import zlib\nexec(zlib.decompress(b'" + b"A" * 400 + b"'))",
        b"x = " + b"(" * 5000,
        b"#" * (SOURCE_LIMIT_BYTES + 1),
    ],
    ids=["elsewhere", "bytes", "syntax", "encoding", "garbage", "deep", "long"],
)
def test_what_cannot_be_unpacked_is_said_in_one_line(file):
    with pytest.raises(CannotUnpack) as caught:
        unpack(file)
    assert "\n" not in str(caught.value)


def test_a_bomb_is_refused_before_it_goes_off():
    for name in ("brotli", "xz", "zlib", "bz2"):
        stub, compress = STUBS[name]
        bomb = compress(b"#" * 40_000_000)
        file = stub.replace("{}", base64.b85encode(bomb).decode()).encode()
        with pytest.raises(CannotUnpack):
            unpack(file)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_damage_anywhere_is_an_error_or_another_text_and_never_a_crash(noise, at):
    file = repacked(TEXT)
    damaged = file[:at] + noise + file[at + len(noise) :]
    try:
        unpack(damaged)
    except CannotUnpack:
        pass


def test_a_repacked_program_is_no_larger_than_its_text_and_unpacks_to_it():
    for text in ("", "x=1\n", TEXT, TEXT * 20):
        assert len(repacked(text)) <= len(text.encode())
        assert unpack(repacked(text)).text == text
