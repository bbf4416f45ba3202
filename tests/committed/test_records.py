"""The records of the leaderboard are judged again on every run of the tests; a run of one's own may lie beside them."""

import json
import shutil
from pathlib import Path

import pytest

from fairway.cli.__main__ import main

ROOT = Path(__file__).resolve().parents[2]
LEADERBOARD = ROOT / "records" / "leaderboard.jsonl"
ROWS = [json.loads(line) for line in LEADERBOARD.read_text(encoding="utf-8").splitlines()]
RECORDS = [ROOT / "records" / f"track_{row['track']}" / row["record"] for row in ROWS]


def check(capfd, folder, *options):
    with pytest.raises(SystemExit) as stop:
        main(["check", str(folder), "--format", "json", *options])
    return stop.value.code, json.loads(capfd.readouterr().out)[0]


def test_there_is_a_record_to_judge():
    assert RECORDS


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.name)
def test_a_committed_record_passes_both_readings(record, capfd):
    status, verdict = check(capfd, record)
    assert (status, verdict["verdict"]) == (0, {"strict": "PASS", "precedent": "PASS"})


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["record"])
def test_the_leaderboard_names_the_bytes_that_are_judged(row, capfd):
    _, verdict = check(capfd, ROOT / "records" / f"track_{row['track']}" / row["record"])
    assert verdict["sums_sha256"] == row["sums_sha256"]


@pytest.mark.parametrize("kind", ["train_seed*.log", "seed*/artifact.bin", "submission.json", "seed*/ledger.jsonl"])
def test_one_flipped_byte_fails_and_names_the_file(kind, tmp_path, capfd):
    folder = tmp_path / RECORDS[-1].parent.name / RECORDS[-1].name
    shutil.copytree(RECORDS[-1], folder)
    victim = sorted(folder.glob(kind))[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    status, verdict = check(capfd, folder, "--leaderboard", str(LEADERBOARD))
    failed = {finding["file"] for finding in verdict["findings"] if finding["verdict"] == "FAIL"}
    assert status == 1 and victim.relative_to(folder).as_posix() in failed
