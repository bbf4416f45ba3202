"""The JSON schema of ``recipe.json``; ``python -m fairway.recipes.schema > schemas/recipe.schema.json`` writes it."""

import json
import sys
from typing import Any

from fairway.recipes.load import recipe_adapter


def recipe_schema() -> dict[str, Any]:
    """Schema of a resolved recipe, drawn from the dataclasses of ``fairway.spec``."""
    recipe: dict[str, Any] = recipe_adapter().json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A resolved recipe: every value, and which file set it",
        "$defs": recipe.pop("$defs"),
        "type": "object",
        "additionalProperties": False,
        "required": ["recipe", "origin", "sha256"],
        "properties": {
            "recipe": recipe,
            "origin": {
                "description": "Key path to the recipe file that set it, or 'default'",
                "type": "object",
                "additionalProperties": {"type": "string"},
            },
            "changes": {
                "description": "Key path to the parent's value (was) and this recipe's (is), where the two differ",
                "type": "object",
                "additionalProperties": {
                    "type": "object",
                    "minProperties": 1,
                    "additionalProperties": False,
                    "properties": {"was": {}, "is": {}},
                },
            },
            "sha256": {
                "description": "Of the canonical JSON of 'recipe'",
                "type": "string",
                "pattern": "^[0-9a-f]{64}$",
            },
        },
    }


def schema_text() -> str:
    """The file as it is kept under ``schemas/``."""
    return json.dumps(recipe_schema(), indent=2, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
