import json
from pathlib import Path

import jsonschema
import pytest

from fairway.recipes.load import load_recipe
from fairway.recipes.locate import recipe_names
from fairway.recipes.schema import recipe_schema, schema_text


def test_the_committed_schema_is_fresh():
    committed = Path(__file__).resolve().parents[2] / "schemas" / "recipe.schema.json"
    assert committed.read_text(encoding="utf-8") == schema_text(), (
        "run python -m fairway.recipes.schema > schemas/recipe.schema.json"
    )


@pytest.mark.parametrize("name", recipe_names())
def test_every_resolved_recipe_fits_the_schema(name):
    jsonschema.validate(json.loads(load_recipe(name).to_json()), recipe_schema())


def test_the_schema_refuses_a_key_nobody_knows():
    whole = json.loads(load_recipe("tiny").to_json())
    whole["recipe"]["model"]["widht"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(whole, recipe_schema())
