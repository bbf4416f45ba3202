import json

import pytest


def edit_stage(stage, event, of_seed, /, **fields):
    def edit(own, events):
        if own == of_seed:
            next(e for e in events if (e["stage"], e["event"]) == (stage, event)).update(fields)

    return edit


def test_one_recipe_and_one_code_pass(toy, said):
    assert [f.verdict for f in said(toy.write().judge(), "recipe-that-ran")] == ["PASS"]


@pytest.mark.parametrize(
    "fields", [{"sha256": "0" * 64}, {"size_bytes": 5}, {"recipe_sha256": "0" * 64}, {"seed": 1}], ids=str
)
def test_a_stage_that_ran_something_else_fails_and_is_named(toy, failing, said, fields):
    toy.edit_events.append(edit_stage("compress", "code", 8, **fields))
    verdict = toy.write().judge()
    assert failing(verdict) == {"recipe-that-ran"}
    assert all("stage compress" in f.message for f in said(verdict, "recipe-that-ran", "FAIL"))


def test_a_recipe_that_was_edited_afterwards_fails(toy, failing):
    toy.write()
    edited = {**toy.recipe, "name": "better"}
    toy.put("recipe.json", json.dumps({"recipe": edited, "sha256": toy.recipe_sha256}))
    assert failing(toy.sign().judge()) == {"recipe-that-ran"}


def test_code_that_was_exchanged_fails_though_it_is_the_same_program(toy, failing):
    toy.write()
    toy.put("train_gpt.py", toy.code[:-1] + b" ")
    assert failing(toy.sign().judge()) == {"recipe-that-ran", "probes"}


def test_a_budget_or_method_other_than_the_recipes_fails(toy, failing, said):
    toy.edit_events.append(edit_stage("train", "start", 7, budget_s=70.0))
    toy.edit_open.append(lambda seed, opening: opening["method"].update(rank=8))
    verdict = toy.write().judge()
    assert failing(verdict) == {"recipe-that-ran", "probes"}  # probes saw the method of the recipe
    assert len(said(verdict, "recipe-that-ran", "FAIL")) == 4


def test_a_recipe_for_another_track_fails(toy, failing):
    toy.recipe["track"] = "other"
    assert failing(toy.write().judge()) == {"recipe-that-ran"}


def test_an_artifact_that_another_recipe_packed_fails(toy, make_toy, tmp_path, failing):
    other = make_toy(tmp_path / "other")
    other.recipe["name"] = "other"
    toy.artifact = other.artifact
    assert failing(toy.write().judge()) == {"recipe-that-ran"}
