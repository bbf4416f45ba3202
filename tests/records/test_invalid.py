"""A run whose method is marked invalid: everything that is written about it says so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fairway.records.facts import read_run
from fairway.records.readme import readme
from fairway.records.submission import Byline, invalidity, submission
from fairway.spec.score import AheadPasses, ChunkPasses, Pass

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "submission.schema.json").read_text(encoding="utf-8"))
AHEAD = AheadPasses(invalid=True, first=Pass(weights="controls", lr=0.1, epochs=5))


@pytest.fixture
def run(world: Any) -> Any:
    return read_run(world.recipe_json, world.results, world.data)


def scored_by(run: Any, method: Any) -> Any:
    return replace(run, recipe=replace(run.recipe, score=replace(run.recipe.score, method=method)))


def test_the_claim_and_the_readme_of_an_invalid_run_say_so(run: Any, byline: Byline, pocket_track: Any) -> None:
    invalid = scored_by(run, AHEAD)
    why = invalidity(invalid.recipe)
    claim = submission(invalid, byline, track="pocket", date="2026-04-22")
    jsonschema.validate(claim, SCHEMA)
    assert claim["invalid"] == why and claim["name"] == f"INVALID: {byline.name}"
    title, warning, *_ = readme(invalid, byline, pocket_track, date="2026-04-22").split("\n\n")
    assert title == f"# INVALID: {byline.name}"
    assert warning.startswith(f"**This is no record and its score is not valid: {why}.**")


def test_a_fair_run_says_nothing_of_the_kind(run: Any, byline: Byline, pocket_track: Any) -> None:
    for method in (run.recipe.score.method, ChunkPasses(first=Pass(lr=0.1))):
        fair = scored_by(run, method)
        assert invalidity(fair.recipe) is None
        assert "invalid" not in submission(fair, byline, track="pocket", date="2026-04-22")
        assert "nvalid" not in readme(fair, byline, pocket_track, date="2026-04-22")


def test_the_passes_are_told_in_words(run: Any, byline: Byline, pocket_track: Any) -> None:
    told = readme(scored_by(run, AHEAD), byline, pocket_track, date="2026-04-22")
    assert "after 5 epochs of sgd on scales, gains and mixes over the same text: invalid" in told
