"""A folder's programs: how a file leads to the program that it runs, by decoding alone."""

import base64
import bz2
import json
import lzma
import zlib
from pathlib import Path

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from submissions import PROGRAM, write

from fairway.verify.programs.evaluate import CannotEvaluate
from fairway.verify.programs.program import Programs
from fairway.verify.programs.read import read_programs
from fairway.verify.programs.unpacking import unpack
from fairway.verify.tree import FolderTree

RAW = PROGRAM.encode()
B85 = base64.b85encode(lzma.compress(RAW)).decode()
RAW_LZMA = lzma.compress(
    RAW, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA1, "preset": 6, "lc": 3, "lp": 0, "pb": 0}]
)
B64 = base64.b64encode(zlib.compress(RAW)).decode()
BROTLI = base64.b85encode(brotli.compress(RAW)).decode()
CUT = len(B85) // 3
STUBS = {
    "aliases": f'import lzma as L,base64 as B\nexec(L.decompress(B.b85decode("{B85}")))',
    "from": f'from lzma import decompress as d\nfrom base64 import b85decode as b\nexec(d(b("{B85}")))',
    "names": f'import lzma,base64\nP="{B85}"\nS=lzma.decompress(base64.b85decode(P)).decode()\n'
    'exec(compile(S,__file__,"exec"))',
    "imported at once": f'exec(__import__("zlib").decompress(__import__("base64").b64decode("{B64}")))',
    "raw": f'import lzma,base64 as b\nexec(lzma.decompress(b.b85decode("{base64.b85encode(RAW_LZMA).decode()}"),3,'
    "filters=[dict(id=0x4000000000000001,lc=3,lp=0,pb=0)]))",
    "brotli": f'import brotli,base64 as b\nexec(brotli.decompress(b.b85decode("{BROTLI}")))',
    "pieces": f'import lzma,base64\nexec(lzma.decompress(base64.b85decode("".join(["{B85[:CUT]}","{B85[CUT:]}"]))))',
    "implicit pieces": f'import lzma,base64\nexec(lzma.decompress(base64.b85decode("{B85[:CUT]}"\n"{B85[CUT:]}")))',
    "reversed": f'import lzma,base64\nexec(lzma.decompress(base64.b85decode("{B85[::-1]}"[::-1])))',
    "bytes": f"import zlib\nexec(zlib.decompress({zlib.compress(RAW)!r}))",
    "hex": f'import bz2\nexec(bz2.decompress(bytes.fromhex("{bz2.compress(RAW).hex()}")))',
    "function": "import lzma,base64\ndef u(s):\n    raw = base64.b85decode(s)\n    return lzma.decompress(raw)\n"
    f'exec(u("{B85}"))',
    "main": f'import lzma,base64\ndef main():\n    code = lzma.decompress(base64.b85decode("{B85}"))\n'
    "    exec(code, {})\nmain()",
    "no exec at all": "import lzma,base64,os,sys\n"
    f'open("/tmp/x.py","wb").write(lzma.decompress(base64.b85decode("{B85}")))\n'
    'os.execv(sys.executable,[sys.executable,"/tmp/x.py"])',
}
OTHER = {
    "exec open": 'exec(open("real.py").read())',
    "replace": 'exec(open(__file__.replace("train_gpt.py","real.py")).read())',
    "pathlib": 'from pathlib import Path\nexec((Path(__file__).parent / "real.py").read_text())',
    "with": 'import os\nwith open(os.path.join(os.path.dirname(__file__), "real.py")) as f:\n    exec(f.read())',
    "runpy": 'import runpy\nrunpy.run_path("real.py", run_name="__main__")',
}


def packed(text: str) -> str:
    """A self-extracting program."""
    payload = base64.b85encode(lzma.compress(text.encode())).decode()
    return f'import lzma,base64\nexec(lzma.decompress(base64.b85decode("{payload}")))'


def no_file(path: str) -> bytes:
    raise CannotEvaluate(path)


def programs(folder: Path, files: dict[str, str | bytes | None]) -> Programs:
    return read_programs(FolderTree(write(folder, files, defaults=False)))


@pytest.mark.parametrize("stub", STUBS.values(), ids=STUBS)
def test_a_stub_leads_to_its_program(stub: str) -> None:
    found = unpack("train_gpt.py", stub.encode(), no_file)
    assert found.text == PROGRAM and len(found.layers) == 1 and not found.hidden and found.parsed.tree is not None


@pytest.mark.parametrize("stub", OTHER.values(), ids=OTHER)
def test_a_program_in_another_file_is_followed(tmp_path: Path, stub: str) -> None:
    found = programs(tmp_path, {"train_gpt.py": stub, "real.py": PROGRAM})
    assert found.main is not None and found.main.file == "train_gpt.py" and found.main.shipped == stub.encode()
    assert (found.main.where, found.main.text, found.main.layers) == ("real.py", PROGRAM, ("open real.py",))
    assert found.helpers == () and found.reached == ("train_gpt.py", "real.py")


def test_layers_add_up_and_end(tmp_path: Path) -> None:
    text = PROGRAM
    for _ in range(3):
        text = packed(text)
    assert unpack("a.py", text.encode(), no_file).layers == ("b85decode lzma",) * 3
    for _ in range(6):
        text = packed(text)
    assert "packed more than" in unpack("a.py", text.encode(), no_file).hidden
    loop = programs(tmp_path, {"train_gpt.py": 'exec(open("train_gpt.py").read())' + "#" * 200})
    assert loop.main is not None and loop.main.hidden


def test_a_payload_in_another_file(tmp_path: Path) -> None:
    stub = (
        'import lzma, os\nwith open(os.path.join(os.path.dirname(__file__), "code.xz"), "rb") as f:\n'
        "    exec(lzma.decompress(f.read()))"
    )
    found = programs(tmp_path, {"train_gpt.py": stub, "code.xz": lzma.compress(RAW)}).main
    assert found is not None and found.text == PROGRAM and found.where == "train_gpt.py"
    bundle = (
        'import json, lzma\nB = json.loads(lzma.decompress(open("b.xz","rb").read()))\n'
        'exec(compile(B["a.py"], "a.py", "exec"))'
    )
    found = programs(
        tmp_path, {"train_gpt.py": bundle, "b.xz": lzma.compress(json.dumps({"a.py": PROGRAM}).encode())}
    ).main
    assert found is not None and found.text == PROGRAM


def test_what_is_executed_besides_a_program_does_not_replace_it() -> None:
    for line in ("exec('x = 1')", f"data = '{B85}'", "exec(open('conf.py').read())", "model.eval()"):
        found = unpack("a.py", f"{PROGRAM}\n{line}\n".encode(), no_file)
        assert found.text == f"{PROGRAM}\n{line}\n" and not found.layers and not found.hidden


@pytest.mark.parametrize(
    "stub",
    [
        "import marshal\nexec(marshal.loads(open('x','rb').read()))",
        f"import base64\nexec(bytes(b ^ 7 for b in base64.b85decode('{B85}')))",
        "exec(input())",
        "exec(open('/etc/passwd').read())",
        "exec(open('../other.py').read())",
        f'import lzma,base64\nexec(lzma.decompress(base64.b85decode("{B85[:-40]}")))',
    ],
)
def test_what_cannot_be_decoded_is_hidden(stub: str) -> None:
    found = unpack("a.py", stub.encode(), no_file)
    assert found.hidden and found.parsed.tree is None and found.text == stub


@pytest.mark.parametrize(
    "bomb",
    [
        "import zlib,base64\nexec(zlib.decompress(base64.b64decode('{}')))".format(
            base64.b64encode(zlib.compress(b"\n" * 50_000_000)).decode()
        ),
        "import lzma,base64\nexec(lzma.decompress(base64.b85decode('{}')))".format(
            base64.b85encode(lzma.compress(b"#" * 50_000_000)).decode()
        ),
        "a = 'x' * 10**12\nexec(a)",
        f"a = '{'x' * 100}'\n" + "a = a + a + a + a\n" * 8 + "exec(a)",
        "a = 'x'\n" + "a = a.replace('x', 'xxxxxxxx')\n" * 9 + "exec(a)",
        "def f(x):\n    return f(f(x))\nexec(f('a'))",
        "import lzma\nexec(lzma.decompress(b'', 3, filters=[dict(id=33, dict_size=4294967295)]))",
        "exec(" * 20 + "f()" + ")" * 20,
        "exec(y" + "[0:1]" * 20 + ")",
        "# -*- coding: rot13 -*-\nrkrp('k')",
        "# coding: utf-7\nexec('x')",
    ],
    ids=lambda text: text[:30],
)
def test_bombs_are_refused_in_little_time(bomb: str) -> None:
    found = unpack("a.py", bomb.encode(), no_file)
    assert found.text == bomb or len(found.text) <= 2_000_000
    assert found.hidden


def test_names_sizes_and_claims_tell_which_file_is_the_program(tmp_path: Path) -> None:
    assert programs(tmp_path / "a", {"README.md": "x"}).main is None
    one = programs(tmp_path / "b", {"train_gpt_new.py": PROGRAM, "prepare_everything.py": PROGRAM * 2})
    assert one.main is not None and one.main.file == "train_gpt_new.py"
    assert [helper.file for helper in one.helpers] == ["prepare_everything.py"]
    longer = PROGRAM + "# more\n"
    claimed = {
        "submission.json": json.dumps({"bytes_code": len(longer)}),
        "train_gpt.py": PROGRAM,
        "train_b.py": longer,
    }
    named = programs(tmp_path / "c", claimed).main
    assert named is not None and named.file == "train_b.py"


def test_what_a_program_reaches(tmp_path: Path) -> None:
    files: dict[str, str | bytes | None] = {
        "train_gpt.py": f"import tilt\nfrom parts import block\n{PROGRAM}",
        "tilt.py": "LIBRARY = 'tilt.c'\n",
        "tilt.c": "int x;\n",
        "parts/__init__.py": "",
        "parts/block.py": "import torch\n",
        "unused.py": "x = 1\n",
    }
    found = programs(tmp_path, files)
    assert set(found.reached) == set(files) - {"unused.py"}
    assert {helper.file for helper in found.helpers} == {"tilt.py", "parts/__init__.py", "parts/block.py", "unused.py"}


def test_files_that_are_no_text(tmp_path: Path) -> None:
    for data in (
        b"\xff\xfe",
        b"\x00" * 10,
        b"\xef\xbb\xbfx = 1\r\ny = 2\r\n",
        "é = 1\n".encode("latin-1"),
        b"x" * 3_000_000,
    ):
        found = programs(tmp_path / str(len(data)), {"train_gpt.py": data}).main
        assert found is not None and (found.hidden or found.text == "x = 1\ny = 2\n")
    named = programs(tmp_path / "latin", {"train_gpt.py": "# coding: latin-1\ns = 'é'\n".encode("latin-1")}).main
    assert named is not None and "é" in named.text and named.tree is not None


def test_there_is_an_end_to_many_programs(tmp_path: Path) -> None:
    many = programs(tmp_path, {f"p{number:03}.py": "x = 1\n" for number in range(60)})
    assert sum(bool(helper.hidden) for helper in many.helpers) >= 15


STUB_PARTS = st.sampled_from(
    [
        "exec",
        "(",
        ")",
        "b85decode",
        "lzma",
        ".decompress",
        "import ",
        "\n",
        f'"{B85[:200]}"',
        "=",
        "a",
        ",",
        "open",
        "[",
        "]",
        "::-1",
        "+",
        "'x'",
        ".read()",
        "def f(x):\n return ",
    ]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STUB_PARTS, max_size=25).map("".join))
def test_no_text_breaks_the_reader(text: str) -> None:
    found = unpack("a.py", text.encode(), no_file)
    assert (found.parsed.tree is None) == bool(found.hidden)
