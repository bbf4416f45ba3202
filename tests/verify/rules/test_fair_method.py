import json

import pytest

from fairway.verify.facts import RECIPE


def test_a_record_that_says_nothing_of_the_kind_passes(toy, said):
    assert [f.verdict for f in said(toy.write().judge(), "fair-method")] == ["PASS"]


@pytest.mark.parametrize("mark", [True, "yes", 1])
def test_a_ledger_that_calls_its_method_invalid_fails_in_every_seed(toy, said, mark):
    toy.edit_open.append(lambda seed, opening: opening["method"].update(invalid=mark))
    findings = said(toy.write().judge(), "fair-method", "FAIL")
    assert [(f.file, f.line) for f in findings] == [(f"seed{seed}/ledger.jsonl", 1) for seed in (7, 8, 9)]
    assert all("learn from validation targets before these are scored" in f.message for f in findings)


def test_a_recipe_that_is_marked_invalid_fails(toy, said):
    toy.recipe.setdefault("score", {}).setdefault("method", {})["invalid"] = True
    findings = said(toy.write().judge(), "fair-method", "FAIL")
    assert findings[0].file == RECIPE and "marked invalid" in findings[0].message


def test_a_claim_that_says_so_itself_fails_with_its_own_words(toy, said):
    toy.write()
    claim = json.loads(toy.read("submission.json")) | {"invalid": "learned ahead"}
    toy.put("submission.json", json.dumps(claim))
    findings = said(toy.sign().judge(), "fair-method", "FAIL")
    assert [f.message for f in findings] == ["says of itself that it is invalid: learned ahead"]


def test_a_plain_no_passes(toy, said):
    toy.edit_open.append(lambda seed, opening: opening["method"].update(invalid=False))
    assert [f.verdict for f in said(toy.write().judge(), "fair-method")] == ["PASS"]
