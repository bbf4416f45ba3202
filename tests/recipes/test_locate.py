from dataclasses import replace

import pytest

from fairway.errors import RecipeError
from fairway.recipes.load import load_recipe
from fairway.recipes.locate import dataset_name, find_recipe, recipe_folder, recipe_names


def test_recipes_are_found_by_name_from_any_folder_below_the_repository(monkeypatch):
    monkeypatch.chdir(recipe_folder())
    assert find_recipe("pocket").name == "pocket.toml"
    assert {"baseline", "pocket", "tiny"} <= set(recipe_names())


def test_outside_the_repository_the_checkouts_own_recipes_are_found(monkeypatch, tmp_path):
    expected = recipe_folder()
    monkeypatch.chdir(tmp_path)
    assert recipe_folder() == expected


def test_a_near_miss_of_a_name_gets_a_suggestion():
    with pytest.raises(RecipeError, match="no recipe is named 'pockte' .*; did you mean pocket\\?"):
        find_recipe("pockte")


def test_a_far_miss_of_a_name_gets_the_list():
    with pytest.raises(RecipeError, match="no recipe is named 'zzz' .*; there are ar-gptq, ar-gptq-lawa, baseline, "):
        find_recipe("zzz")


def test_a_path_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(RecipeError, match="recipe file .*none.toml does not exist"):
        find_recipe(tmp_path / "none.toml")


def test_recipes_share_a_dataset_exactly_if_their_data_is_the_same():
    data = load_recipe("pocket").recipe.data
    assert dataset_name(replace(data)) == dataset_name(data)
    assert dataset_name(replace(data, val_docs=data.val_docs + 1)) != dataset_name(data)
    assert dataset_name(data).startswith("embedded_v1024-")
    assert dataset_name(load_recipe("baseline").recipe.data).startswith("sp8192-")
