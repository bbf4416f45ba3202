import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fairway.errors import FairwayError
from fairway.records.ledgers import read_ledger

OPEN = {"i": 0, "kind": "open", "artifact_sha256": "ab", "documents": 2, "targets": 5}
SCORE = {"i": 1, "kind": "score", "spans": [[0, 1, 3, 2.0, 5], [3, 4, 5, 1.0, 1]]}
LEARN = {"i": 2, "kind": "learn", "what": "lora", "spans": [[1, 3]]}
LATER = {"i": 3, "kind": "score", "spans": [[0, 3, 4, 0.5, 2]]}
CLOSE = {"i": 4, "kind": "close", "targets": 4, "bytes": 8, "nats": 3.5}


def written(path: Path, *entries: Any) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    return path


def test_a_ledger_is_its_spans_in_order_and_what_was_learned_after_how_many_targets(tmp_path: Path) -> None:
    ledger = read_ledger(written(tmp_path / "ledger.jsonl", OPEN, SCORE, LEARN, LATER, CLOSE))
    assert ledger.artifact_sha256 == "ab"
    assert ledger.starts.tolist() == [1, 4, 3]
    assert ledger.stops.tolist() == [3, 5, 4]
    assert ledger.nats.tolist() == [2.0, 1.0, 0.5]
    assert ledger.bytes.tolist() == [5, 1, 2]
    assert ledger.learned == ((3, "lora"),)


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ([OPEN, SCORE], "ends with a 'close' entry"),
        ([OPEN, CLOSE], "has scores"),
        ([OPEN, {"kind": "guess"}, CLOSE], ":2: kind must be open, score, learn or close, got 'guess'"),
        ([OPEN, {"kind": "score", "spans": [[1, 2]]}, CLOSE], ":2: not an entry of a ledger"),
        ([OPEN, SCORE, {"i": 2}, CLOSE], ":3: not an entry of a ledger"),
    ],
)
def test_a_ledger_that_is_none_is_named_with_its_line(tmp_path: Path, entries: list[Any], complaint: str) -> None:
    path = written(tmp_path / "ledger.jsonl", *entries)
    with pytest.raises(FairwayError, match=f"^{re.escape(str(path))}.*{re.escape(complaint)}"):
        read_ledger(path)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text('{"kind": "op')])
def test_a_ledger_that_is_missing_or_cut_is_named(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    path = written(tmp_path / "ledger.jsonl", OPEN, SCORE, CLOSE)
    damage(path)
    with pytest.raises(FairwayError, match=re.escape(str(path))):
        read_ledger(path)
