"""The schemas beside the folders that they describe."""

import json

from fairway.verify import schemas


def test_every_entry_of_a_ledger_follows_its_schema_and_a_changed_one_does_not(toy):
    toy.write()
    entries = [json.loads(line) for line in toy.read("seed7/ledger.jsonl").splitlines()]
    assert [schemas.violations("ledger", entry) for entry in entries] == [[]] * len(entries)
    for entry in entries:
        assert schemas.violations("ledger", {**entry, "more": 1}) != []


def test_every_schema_is_one_and_says_what_it_describes():
    for path in schemas.schema_folder().glob("*.schema.json"):
        name = path.name.removesuffix(".schema.json")
        assert isinstance(schemas.violations(name, 3), list)
        assert json.loads(path.read_text())["$schema"].endswith("2020-12/schema")


def test_violations_are_single_lines_of_bounded_length():
    wrong = schemas.violations("submission", {"author": "x" * 10_000, "more\nlines": 1, "seeds": list(range(5000))})
    assert wrong and all("\n" not in line and len(line) < 300 for line in wrong)
