"""``fairway reproduce`` of a small made-up submission of a stranger's."""

import json
import struct

import pytest

PROGRAM = """
import glob, os, pathlib, random, socket, sys
shards = sorted(glob.glob(os.environ["DATA_PATH"] + "/fineweb_val_*.bin"))
assert shards and os.path.exists(os.environ["TOKENIZER_PATH"]), "no data"
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
except ConnectionRefusedError:
    pass
draw = random.Random(int(os.environ["SEED"]) + int(os.environ.get("SHIFT", "0")))
print("seed:", os.environ["SEED"])
for step in (100, 200):
    print(f"step:{step}/200 train_loss:{4.0 - step / 1000:.4f} train_time:{step * 10}ms step_avg:10.00ms")
print("stopping_early: wallclock_cap train_time:2000ms step:200/200")
bpb = float(os.environ["CENTRE"]) + 0.01 * draw.random()
size = 15_000_000 + draw.randrange(1000)
print(f"Serialized model int6+lzma: {size} bytes")
print(f"Code size: 20000 bytes")
print(f"Total submission size int6+lzma: {size + 20000} bytes")
print(f"final_int8_zlib_roundtrip val_loss:{bpb * 2:.4f} val_bpb:{bpb:.4f} eval_time:3000ms")
print(f"final_int8_zlib_roundtrip_exact val_loss:{bpb * 2:.8f} val_bpb:{bpb:.8f}")
"""
README = """# A stranger's record

```bash
CENTRE=1.10 SEED=42 \\
torchrun --standalone --nproc_per_node=8 train_gpt.py
```
"""


def shard(path, tokens):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack("<256i", 20240520, 1, len(tokens), *[0] * 253)
    path.write_bytes(header + struct.pack(f"<{len(tokens)}H", *tokens))


@pytest.fixture
def stranger(tmp_path):
    """A folder whose logs were made by its own program, and data in the published layout."""
    import contextlib
    import io
    import os

    folder = tmp_path / "records" / "track_10min_16mb" / "2026-04-01_Stranger"
    folder.mkdir(parents=True)
    (folder / "train_gpt.py").write_text(PROGRAM)
    (folder / "README.md").write_text(README)
    data = tmp_path / "shards"
    shard(data / "fineweb_val_000000.bin", [1, 5, 6, 7])
    shard(data / "fineweb_train_000000.bin", [1, 5, 6, 7])
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    told = {"DATA_PATH": str(data), "TOKENIZER_PATH": str(tmp_path / "tokenizer.model"), "CENTRE": "1.10"}
    before = dict(os.environ)
    for seed in (42, 1337, 2024):
        printed = io.StringIO()
        os.environ.update({**told, "SEED": str(seed)})
        with contextlib.redirect_stdout(printed):
            exec(PROGRAM, {})
        (folder / f"train_seed{seed}.log").write_text(printed.getvalue())
    os.environ.clear()
    os.environ.update(before)
    claim = {"name": "Stranger", "author": "a", "github_id": "a", "val_bpb": 1.105, "bytes_total": 15_020_500}
    (folder / "submission.json").write_text(json.dumps(claim))
    return folder


def arguments(folder, tmp_path, *more):
    data = ["--data", str(tmp_path / "shards"), "--tokenizer", str(tmp_path / "tokenizer.model")]
    return ["reproduce", str(folder), "-o", str(tmp_path / "out"), *data, *more]


def test_a_strangers_folder_runs_by_its_readmes_command_and_agrees(stranger, tmp_path, fairway):
    done = fairway(*arguments(stranger, tmp_path, "--seeds", "42,1337"))
    assert done.status == 0, done.err
    assert "# Reproduced: 2026-04-01_Stranger" in done.out
    report = json.loads((tmp_path / "out" / "reproduction.json").read_text())
    assert [each["found"]["bpb"] == each["recorded"]["bpb"] for each in report["seeds"]] == [True, True]
    assert {each["outcome"] for each in report["agreements"]} == {"within noise"}


def test_another_setting_is_no_reproduction(stranger, tmp_path, fairway):
    done = fairway(*arguments(stranger, tmp_path, "--seeds", "42", "--set", "CENTRE=1.30"))
    assert done.status == 1 and "outside noise" in done.out


def test_a_program_that_fails_is_reported(stranger, tmp_path, fairway):
    (stranger / "train_gpt.py").write_text("raise SystemExit('broken')\n")
    done = fairway(*arguments(stranger, tmp_path, "--seeds", "42"))
    assert done.status == 1 and "did not run" in done.out
    assert "broken" in (tmp_path / "out" / "seed42" / "run.log").read_text()


def test_bad_input_is_one_line(stranger, tmp_path, fairway):
    for more, words in (
        (["--seeds", "a"], "--seeds takes whole numbers"),
        (["--set", "x y"], "--set takes KEY=VALUE"),
    ):
        done = fairway(*arguments(stranger, tmp_path, *more))
        assert done.status == 2 and words in done.err and done.complaint
    done = fairway("reproduce", str(tmp_path / "nothing"), "-o", str(tmp_path / "out"))
    assert done.status == 2 and "no such folder" in done.err
