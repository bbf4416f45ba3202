import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fairway.records.pull_request import pull_request
from fairway.verify.facts import NoEvidence, read_record


def judged_records() -> ModuleType:
    """The made-up records of the judge's tests, whose ledgers are chained: a verdict on them means something."""
    path = Path(__file__).parents[1] / "verify" / "conftest.py"
    spec = importlib.util.spec_from_file_location("judged_records", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def toy(tmp_path: Path) -> Any:
    """A record that every rule holds for, not yet written."""
    return judged_records().Toy(tmp_path)


def text_of(toy: Any) -> str:
    toy.write()
    return pull_request(read_record(toy.folder, toy.track), toy.judge())


def tables(text: str) -> list[list[list[str]]]:
    """Every Markdown table of a text as rows of cells, its rule left out."""
    blocks = re.findall(r"(?:^\|.*\|\n?)+", text, re.M)
    rows = [[[cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()] for block in blocks]
    return [[table[0], *table[2:]] for table in rows]


def test_sizes_of_every_seed_stand_there_in_all_readings(toy: Any) -> None:
    sizes = tables(text_of(toy))[0]
    assert sizes[0][4:] == ["literal", "all code", "claimed", "repacked"]
    for row, seed in zip(sizes[1:], toy.seeds, strict=True):
        model, code = len(toy.artifact(seed)), len(toy.code)
        repacked = model + min(code, len(toy.minified))
        totals = [model, model + code, model + code + len(toy.source), model + code, repacked]
        assert row == [
            str(seed),
            *(f"{toy.scores(seed)['final'][name]:.8f}" for name in ("val_bpb", "val_loss")),
            *(f"{total:,}" for total in totals),
        ]


def test_seconds_stand_there_by_every_reading_of_the_track(toy: Any) -> None:
    training, evaluation = tables(text_of(toy))[1:3]
    assert training[0] == [
        "seed",
        "strict: loop + replay + calibrate (at most 60)",
        "precedent: loop (at most 61)",
        "precedent: loop + replay + calibrate (at most 61, beyond it a person looks)",
    ]
    loop, replay, calibrate = 40.0, 3.257, 5.125
    assert training[1] == ["7", f"{loop + replay + calibrate:.3f}", f"{loop:.3f}", f"{loop + replay + calibrate:.3f}"]
    assert evaluation[1] == ["7", "21.507", "20.007", "21.507"]


def test_the_four_conditions_point_into_the_ledger_and_the_code(toy: Any) -> None:
    toy.source += (
        "\n\nclass Referee:\n    def losses(self, logits, targets):\n        return cross_entropy(logits, targets)\n"
    )
    text = text_of(toy)
    for row, seed in zip(tables(text)[3][1:], toy.seeds, strict=True):
        lines = (toy.folder / f"seed{seed}" / "ledger.jsonl").read_text().splitlines()
        place = {
            word: 1 + next(i for i, line in enumerate(lines) if f'"kind":"{word}"' in line)
            for word in ("score", "learn", "close")
        }
        assert row[1:3] == [f"`seed{seed}/ledger.jsonl`", str(len(lines))]
        assert row[4:7] == [f"line {place[word]}" for word in ("score", "learn", "close")]
        assert row[7].strip("`") in lines[-1].split('"hash":"')[1]
    for condition in ("C1", "C2", "C3", "C4"):
        assert f"**{condition}, " in text
    line = 1 + toy.source.split("\n").index("        return cross_entropy(logits, targets)")
    assert f"(`train_gpt_source.py:{line}`)" in text
    assert "`scored-before-learned`, PASS: seed 7" in text and "`every-target-scored-once`, PASS: seed 9" in text


def test_the_denominator_the_seeds_and_the_unit_of_the_gain_are_told(toy: Any) -> None:
    text = text_of(toy)
    targets, size_bytes, _ = toy.sums(7)
    assert tables(text)[4][1] == ["7", str(targets), str(size_bytes), f"{size_bytes / targets:.6f}"]
    assert "Seeds 7, 8, 9." in text and "`significance`, PASS: the first record" in text
    assert "- strict: a gain of more than 0.005 at p below 0.01, in nats per token (val_loss)" in text


def test_what_fails_is_told_in_place_of_what_holds(toy: Any) -> None:
    del toy.ledgers[8][2]
    text = text_of(toy)
    assert "`every-target-scored-once`, FAIL: seed 8" in text and "strict FAIL" in text


def test_a_folder_without_its_claim_gives_no_text(toy: Any) -> None:
    toy.write()
    (toy.folder / "submission.json").unlink()
    with pytest.raises(NoEvidence):
        pull_request(read_record(toy.folder, toy.track), toy.judge())
