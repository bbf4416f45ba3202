import json
from dataclasses import replace

import pytest

from fairway.errors import RecipeError
from fairway.recipes.catalogue import SMOKE_FILE, catalogue, catalogue_json, catalogue_text
from fairway.recipes.load import load_recipe, plain, write_resolved
from fairway.recipes.locate import recipe_names


@pytest.fixture
def checkout(tmp_path):
    """A folder with two recipes and no evidence."""
    folder = tmp_path / "workflow" / "recipes"
    folder.mkdir(parents=True)
    (folder / "small.toml").write_text(
        'extends = "tiny"\nbecause = "a test"\nsources = ["#1", "#2"]\n[train]\nsteps = 9\n'
    )
    (folder / "smaller.toml").write_text('extends = "small"\nbecause = "another"\n[train]\nsteps = 7\n')
    return tmp_path


def statuses(checkout):
    return {entry.name: entry.status for entry in catalogue(checkout / "workflow" / "recipes")}


def record(checkout, name, **changes):
    folder = checkout / "records" / "track_tiny" / f"2026_{name}"
    resolved = load_recipe(checkout / "workflow" / "recipes" / f"{name}.toml")
    recipe = replace(resolved.recipe, train=replace(resolved.recipe.train, **changes))
    write_resolved(replace(resolved, recipe=recipe), folder / "recipe.json")
    return folder


def smoke(checkout, content):
    path = checkout / SMOKE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def test_the_catalogue_has_every_recipe_of_the_folder_and_json_says_the_same():
    entries = catalogue()
    assert [entry.name for entry in entries] == recipe_names()
    listed = json.loads(catalogue_json(entries))
    assert [entry["parameters"] for entry in listed] == [entry.parameters for entry in entries]
    assert [line.split()[0] for line in catalogue_text(entries).splitlines()] == recipe_names()
    known = {entry.name: entry for entry in entries}
    assert (known["symmix"].parent, known["symmix"].source, known["symmix"].track) == (
        "ar-gptq",
        "#1214",
        "non_record_16mb",
    )
    assert (known["baseline"].parent, known["tiny"].source) == (None, None)
    assert known["xsa-ema"].predicted_is_bound and not known["caseops-top"].predicted_is_bound


def test_a_recipe_without_evidence_never_ran(checkout):
    assert statuses(checkout) == {"small": "never run", "smaller": "never run"}


def test_a_judged_record_with_todays_values_is_a_run(checkout):
    folder = record(checkout, "small")
    assert statuses(checkout)["small"] == "never run"
    (folder / "verdict.json").write_text("{}")
    assert statuses(checkout) == {"small": "run", "smaller": "never run"}


def test_a_record_with_other_values_is_no_run_of_this_recipe(checkout):
    (record(checkout, "small", steps=4) / "verdict.json").write_text("{}")
    assert statuses(checkout)["small"] == "never run"


def test_a_record_that_is_older_than_some_key_still_counts(checkout):
    folder = record(checkout, "small")
    (folder / "verdict.json").write_text("{}")
    whole = json.loads((folder / "recipe.json").read_text())
    del whole["recipe"]["model"]["q_rank"]
    (folder / "recipe.json").write_text(json.dumps(whole))
    assert statuses(checkout)["small"] == "run"


def test_a_smoke_run_counts_while_the_recipe_is_the_one_that_ran(checkout):
    sha256 = load_recipe(checkout / "workflow" / "recipes" / "small.toml").sha256
    smoke(checkout, json.dumps({"small": {"recipe_sha256": sha256}, "smaller": {"recipe_sha256": sha256}}))
    assert statuses(checkout) == {"small": "run small", "smaller": "never run"}


def test_damaged_evidence_is_named(checkout):
    smoke(checkout, "[")
    with pytest.raises(RecipeError, match="recipes_smoke.json is not JSON"):
        statuses(checkout)
    smoke(checkout, "[]")
    with pytest.raises(RecipeError, match="recipes_smoke.json must hold an object"):
        statuses(checkout)


def test_the_recipe_of_the_committed_record_is_todays_pocket():
    assert {entry.name: entry.status for entry in catalogue()}["pocket"] == "run"
    assert plain(load_recipe("pocket").recipe)["name"] == "pocket"
