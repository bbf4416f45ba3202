"""A folder that was made to hurt is judged like any other: no exception, no waiting, nothing of it run."""

import base64
import json
import lzma
import os
import pickle
import tracemalloc
import zlib
from pathlib import Path

import pytest
from submissions import NAME, PROGRAM, claim, log, track_named, write

from fairway.verify.run import check
from fairway.verify.tree import FolderTree

BOMB = base64.b85encode(lzma.compress(bytes(50_000_000))).decode()
WITNESS = "witness"


class Payload:
    """What unpickling would run."""

    def __reduce__(self):
        return os.mkdir, (WITNESS,)


def chain(depth: int) -> str:
    """The made-up program, packed again and again."""
    text = PROGRAM
    for _ in range(depth):
        packed = base64.b64encode(zlib.compress(text.encode())).decode()
        text = f'import zlib,base64\nexec(zlib.decompress(base64.b64decode("{packed}")))'
    return text


FILES = {
    "a bomb in the program": {
        "train_gpt.py": f'import lzma,base64\nexec(lzma.decompress(base64.b85decode("{BOMB}")))',
    },
    "a program packed forty times": {"train_gpt.py": chain(40)},
    "a program that executes itself": {"train_gpt.py": "exec(open(__file__).read())"},
    "programs that execute each other": {
        "train_gpt.py": 'exec(open("b.py").read())',
        "b.py": 'exec(open("train_gpt.py").read())',
    },
    "a program out of bounds": {"train_gpt.py": 'exec(open("/etc/passwd").read())'},
    "null bytes": {"train_gpt.py": PROGRAM.replace("import os", "import os\0"), "train_seed7.log": bytes(100_000)},
    "not UTF-8": {
        "train_gpt.py": PROGRAM.encode() + b"# \xff\n",
        "README.md": b"\xff\xfe",
        "train_seed7.log": b"\xff" * 999,
    },
    "deep brackets": {"train_gpt.py": PROGRAM + "X = " + "(" * 50_000},
    "a long sum": {"train_gpt.py": PROGRAM + "X = " + "+".join(["a"] * 3000)},
    "a long mask": {"train_gpt.py": PROGRAM + "X = (" + "^".join(["a"] * 900) + ") & mask\nT[X] += 1\n"},
    "a long attribute": {"train_gpt.py": PROGRAM + "X = a" + ".b" * 900 + "\n"},
    "numbers without end": {
        "train_gpt.py": PROGRAM.replace("vocab_size = 1024", "vocab_size = 9**9**9; b = 1 << 10**12; c = 'x' * 10**12"),
    },
    "JSON without end": {"submission.json": "[" * 100_000},
    "JSON of another kind": {"submission.json": json.dumps([claim()])},
    "JSON with a number without end": {"submission.json": '{"val_bpb": ' + "9" * 100_000 + ', "seeds": [1e999, NaN]}'},
    "JSON with half of a letter": {"submission.json": '{"author": "\\ud800", "name": "\\u0000", "val_bpb": 1.1}'},
    "JSON of the wrong types": {
        "submission.json": json.dumps({key: [{"a": value}] for key, value in claim().items()}),
    },
    "a log in one line": {"train_seed7.log": log(7).replace("\n", " ") + "val_bpb:" * 50_000},
    "a log of long numbers": {
        "train_seed7.log": log(7)
        + "".join(f"{name}{'9' * 5000}\n" for name in ("val_bpb:", "seed:", "step:1/", "world_size:", "Code size: ")),
    },
    "a log of nothing that is a number": {
        "train_seed7.log": log(7) + "final_x_exact val_loss:nan val_bpb:inf\nval_loader:shards tokens:0\nseed:-1\n",
    },
    "C without end": {
        "a.c": "{" * 20_000,
        "b.cpp": "void f(){" + "{if(a)" * 20_000,
        "c.cu": "int f(int a){" + "x((" * 20_000,
    },
    "no tokenizer": {"a.model": b"\x0a" * 50_000, "b.model": b"\x0a\x02\x0a\x00" * 20_000},
    "pickles": {
        "final_model.pt": pickle.dumps(Payload()),
        "final_model.ptz": zlib.compress(pickle.dumps(Payload())),
        "candidate.meta.npz": pickle.dumps(Payload()),
    },
    "a README of patterns": {
        "README.md": "\n".join(
            ("n-gram hash " * 5000, "train val overlap " * 5000, "|" * 50_000, "gate target leak " * 5000)
        ),
    },
    "terminal escapes": {
        "\x1b[31mx.py": "eval('1')",
        "[red]a[/].log": "val_bpb:1",
        "README.md": "\x1b]8;;http://x\x07",
    },
    "nothing in the files": dict.fromkeys(("README.md", "submission.json", "train_gpt.py", "train_seed7.log"), ""),
}


def judged(folder: Path):
    """The verdict on a folder; whatever the folder is, no rule may crash over it."""
    verdict = check(FolderTree(folder), track_named(), path=str(folder), with_facts=True)
    assert verdict.crashes == ()
    assert verdict.findings
    return verdict


@pytest.mark.parametrize("case", FILES)
def test_files_that_were_made_to_hurt(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    folder = write(tmp_path / "track_10min_16mb" / NAME, FILES[case])
    judged(folder)
    assert not (tmp_path / WITNESS).exists()


def test_a_bomb_is_not_taken_for_a_program(tmp_path):
    folder = write(tmp_path / NAME, FILES["a bomb in the program"])
    asked = [finding.verdict for finding in judged(folder).findings if finding.rule == "target-keyed-cache"]
    assert asked == ["UNVERIFIABLE"]


def test_links_pipes_and_folders_in_the_place_of_files(tmp_path):
    folder = write(
        tmp_path / NAME, {"train_gpt.py": None, "README.md": None, "train_seed7.log": None, "train_seed42.log": None}
    )
    (folder / "train_gpt.py").symlink_to("/etc/passwd")
    (folder / "loop").symlink_to(".")
    (folder / "README.md").symlink_to("README.md")
    (folder / "train_seed42.log").mkdir()
    os.mkfifo(folder / "train_seed7.log")
    assert judged(folder).of("strict") == "FAIL"


def test_a_pipe_is_not_waited_for(tmp_path):
    folder = tmp_path / NAME
    folder.mkdir()
    for name in ("train_gpt.py", "README.md", "submission.json", "train.log"):
        os.mkfifo(folder / name)
    judged(folder)
    with pytest.raises(OSError, match="no plain file"):
        FolderTree(folder).open("train.log")


def test_a_link_is_not_followed(tmp_path):
    folder = write(tmp_path / NAME, {"train_seed7.log": None})
    (folder / "train_seed7.log").symlink_to("/dev/zero")
    with pytest.raises(OSError):
        FolderTree(folder).open("train_seed7.log")


def test_a_huge_log_is_not_held_in_memory(tmp_path):
    folder = write(tmp_path / NAME)
    with (folder / "train_seed7.log").open("r+b") as file:
        file.truncate(300_000_000)
    tracemalloc.start()
    judged(folder)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 100_000_000


def test_folders_in_folders_without_end(tmp_path):
    folder = write(tmp_path / NAME)
    deep = folder
    for _ in range(150):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "train.log").write_text("val_bpb:1\n")
    judged(folder)


def test_names_that_are_no_text(tmp_path):
    folder = write(tmp_path / NAME)
    for name in (b"\xff\xfe.py", b"a\nb.log", b"train_seed9\xff.log", b"\xed\xa0\x80.md", b"-rf", b" "):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(b"x = 1\nval_bpb:1.0\n")
    judged(folder)


def test_an_empty_folder(tmp_path):
    (tmp_path / NAME).mkdir()
    assert judged(tmp_path / NAME).of("precedent") == "FAIL"
