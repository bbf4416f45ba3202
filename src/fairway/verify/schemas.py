"""The JSON Schemas of the repository, by name: what each file of a record must look like."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.protocols import Validator

from fairway.errors import DataError


def schema_folder() -> Path:
    """Where the schemas lie: beside the installed package, or at the root of the clone it is installed from."""
    here = Path(__file__).resolve()
    candidates = [here.parents[1] / "schemas", here.parents[3] / "schemas"]
    for folder in candidates:
        if (folder / "verdict.schema.json").is_file():
            return folder
    raise DataError(f"schemas: not found at {' or '.join(str(folder) for folder in candidates)}")


@cache
def _validator(name: str) -> Validator:
    schema = json.loads((schema_folder() / f"{name}.schema.json").read_text(encoding="utf-8"))
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    validator: Validator = kind(schema)
    return validator


def violations(name: str, value: Any, *, most: int = 5) -> list[str]:
    """What is wrong with ``value`` by the schema called ``name``, one line each, ``most`` at most."""
    lines: list[str] = []
    for error in sorted(_validator(name).iter_errors(value), key=lambda e: [str(part) for part in e.absolute_path]):
        where = ".".join(str(part) for part in error.absolute_path) or "the whole"
        lines.append(f"{where}: {_short(error.message)}")
        if len(lines) == most:
            break
    return lines


def _short(message: str, limit: int = 160) -> str:
    line = " ".join(message.split())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
