import hashlib
import json
import struct
from pathlib import Path

import pytest
import torch

from fairway.errors import DataError
from fairway.score.ledger import FIRST_PREV, Ledger, losses_sha256, tokens_sha256


def write(path: Path | None) -> Ledger:
    with Ledger(path) as ledger:
        ledger.append("open", {"targets": 3})
        ledger.append("score", {"spans": [[0, 1, 4, 1.5, 9]]})
        ledger.append("close", {"nats": 0.1 + 0.2})
    return ledger


def test_each_entry_names_the_hash_of_the_one_before(tmp_path: Path) -> None:
    ledger = write(tmp_path / "ledger.jsonl")
    prev = FIRST_PREV
    for i, line in enumerate((tmp_path / "ledger.jsonl").read_bytes().splitlines()):
        entry = json.loads(line)
        claimed = entry.pop("hash")
        assert (entry["i"], entry["prev"]) == (i, prev)
        prev = hashlib.sha256(json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
        assert claimed == prev
    assert ledger.head == prev


def test_a_ledger_without_a_file_has_the_same_head(tmp_path: Path) -> None:
    assert write(None).head == write(tmp_path / "ledger.jsonl").head


def test_a_broken_off_ledger_does_not_get_its_name(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    with pytest.raises(KeyboardInterrupt), Ledger(path) as ledger:
        ledger.append("open", {})
        raise KeyboardInterrupt
    assert not path.exists()
    write(path)
    assert len(path.read_text().splitlines()) == 3


def test_a_ledger_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"), Ledger(tmp_path / "file" / "ledger.jsonl"):
        pass


def test_digests_are_of_little_endian_numbers() -> None:
    tokens, losses = [1, 2, 65_535], [0.5, 1.25]
    assert tokens_sha256(torch.tensor(tokens)) == hashlib.sha256(struct.pack("<3H", *tokens)).hexdigest()
    assert losses_sha256(torch.tensor(losses)) == hashlib.sha256(struct.pack("<2f", *losses)).hexdigest()
