"""The chain of deltas to one validated Recipe, with the origin of each value."""

import hashlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fairway.errors import RecipeError
from fairway.recipes.locate import find_recipe
from fairway.recipes.mistakes import History, Setting, Table, check_keys, complaint, join, shown
from fairway.spec.recipe import Recipe

DEFAULT = "default"
"""Origin of a value that no file sets."""

Change = Mapping[str, Any]
"""``was``: the parent's value; ``is``: this recipe's. One of them is absent where only the other has the key."""

_HEADER = {"extends": str, "because": str, "sources": list, "unset": list}
_RESERVED = ("name", "lineage")


@dataclass(frozen=True, slots=True)
class Resolved:
    """A whole recipe, where each value comes from, and the hash that names it."""

    recipe: Recipe
    origin: Mapping[str, str]
    sha256: str
    history: History = field(default_factory=dict)
    """All settings of each key, oldest first; empty when read back from ``recipe.json``."""
    changes: Mapping[str, Change] | None = None
    """Where this recipe and its parent differ, by key path; None for a root, and where the parent is not known."""

    def to_json(self) -> str:
        """The text of ``recipe.json``."""
        whole: Table = {"recipe": plain(self.recipe), "origin": dict(self.origin), "sha256": self.sha256}
        if self.changes is not None:
            whole["changes"] = {path: dict(change) for path, change in self.changes.items()}
        return json.dumps(whole, indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class Delta:
    """One recipe file: header and the values it sets."""

    name: str
    path: Path
    extends: str | None
    because: str
    sources: tuple[str, ...]
    unset: tuple[str, ...]
    values: Table


def load_recipe(name_or_path: str | Path) -> Resolved:
    """Read a recipe and all it extends; ``RecipeError`` with one line for whatever is wrong."""
    chain = read_chain(name_or_path)
    resolved = _resolved(chain)
    try:
        parent = _resolved(chain[:-1]) if len(chain) > 1 else None
    except RecipeError:  # a parent need not be whole by itself: a child may complete it
        parent = None
    return resolved if parent is None else replace(resolved, changes=changed(parent.recipe, resolved.recipe))


def changed(old: Recipe, new: Recipe) -> dict[str, Change]:
    """Where two recipes differ, name and lineage (which always do) left out."""
    sides = {"was": plain(old), "is": plain(new)}
    paths = {side: list(leaves(table)) for side, table in sides.items()}
    found: dict[str, Change] = {}
    for path in dict.fromkeys([*paths["was"], *paths["is"]]):
        if path.split(".")[0] not in _RESERVED:
            change = {side: value_at(table, path) for side, table in sides.items() if path in paths[side]}
            if len(change) < 2 or change["was"] != change["is"]:
                found[path] = change
    return found


def _resolved(chain: Sequence[Delta]) -> Resolved:
    values: Table = {}
    history: dict[str, list[Setting]] = {}
    for delta in chain:
        for path in delta.unset:
            _unset(values, history, path, delta.name)
        _merge(values, delta.values, history, delta.name)
    last = chain[-1]
    values["name"] = last.name
    values["lineage"] = {
        "parents": [delta.name for delta in reversed(chain[:-1])],
        "because": last.because,
        "sources": list(dict.fromkeys(source for delta in chain for source in delta.sources)),
    }
    recipe = _validate(last.name, values, history)
    origin = {path: history[path][-1].file if path in history else DEFAULT for path in leaves(plain(recipe))}
    for path in origin:
        if path.split(".")[0] in _RESERVED:
            origin[path] = last.name
    return Resolved(recipe, origin, digest(recipe), history)


def read_resolved(path: Path) -> Resolved:
    """Read ``recipe.json`` back; ``RecipeError`` if it is none or its hash does not fit."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"{path} does not exist; `fairway recipe resolve NAME -o {path}` writes it") from error
    except ValueError as error:
        raise RecipeError(f"{path} is not JSON: {error}") from error
    if not isinstance(whole, dict) or set(whole) - {"changes"} != {"recipe", "origin", "sha256"}:
        raise RecipeError(f"{path} must hold recipe, origin and sha256, as `fairway recipe resolve` writes them")
    if not all(isinstance(whole.get(key, {}), dict) for key in ("recipe", "origin", "changes")):
        raise RecipeError(f"{path}: recipe, origin and changes must be objects")
    recipe = _validate(str(path), whole["recipe"], {})
    # of the recipe as it stands there: one that is older than some key has another hash with that key's default
    sha256 = _table_digest(whole["recipe"])
    if sha256 != whole["sha256"]:
        raise RecipeError(
            f"{path}: the recipe has sha256 {sha256}, but the file says {shown(whole['sha256'])};"
            " it was edited by hand, resolve it again"
        )
    return Resolved(recipe, whole["origin"], sha256, changes=_read_changes(path, whole))


def _read_changes(path: Path, whole: Table) -> Mapping[str, Change] | None:
    changes: Mapping[str, Change] | None = whole.get("changes")
    known = frozenset(leaves(whole["recipe"]))
    for key, change in ({} if changes is None else changes).items():
        if not isinstance(change, dict) or not set(change) <= {"was", "is"} or not change:
            raise RecipeError(f"{path}: changes.{key} must hold was, is or both, got {shown(change)}")
        if (key in known) != ("is" in change) or (key in known and value_at(whole["recipe"], key) != change["is"]):
            raise RecipeError(f"{path}: changes.{key} is not what the recipe has; resolve it again")
    return changes


def write_resolved(resolved: Resolved, path: Path) -> None:
    """Write ``recipe.json`` whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(resolved.to_json(), encoding="utf-8")
    os.replace(part, path)


def read_chain(name_or_path: str | Path) -> list[Delta]:
    """The deltas from the root to the recipe itself."""
    chain = [_read_delta(find_recipe(name_or_path))]
    while (parent := chain[0].extends) is not None:
        if parent in [delta.name for delta in chain]:
            circle = " -> ".join([delta.name for delta in reversed(chain)] + [parent])
            raise RecipeError(f"recipe {chain[-1].name}: extends goes in a circle: {circle}")
        chain.insert(0, _read_delta(find_recipe(parent, beside=chain[0].path.parent)))
    return chain


def plain(recipe: Recipe) -> Table:
    """The recipe as JSON has it: lists for tuples."""
    whole: Table = json.loads(json.dumps(asdict(recipe)))
    return whole


def digest(recipe: Recipe) -> str:
    """SHA-256 of the canonical JSON of a recipe."""
    return _table_digest(plain(recipe))


def _table_digest(table: Table) -> str:
    return hashlib.sha256(json.dumps(table, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def leaves(table: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Paths of all values that are no tables, in order."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, join(path, key))
        else:
            yield join(path, key)


def value_at(table: Mapping[str, Any], path: str) -> Any:
    """The value that a path such as ``quant.mlp.bits`` leads to."""
    value: Any = table
    for key in path.split("."):
        value = value[key]
    return value


@cache
def recipe_adapter() -> Any:
    """Pydantic's TypeAdapter of the spec's dataclasses, which do not know of it (Any: beartype cannot read it)."""
    return TypeAdapter(Recipe)


def validated(name: str, values: Table) -> Recipe:
    """The recipe of a whole table of values; ``RecipeError`` with one line for whatever is wrong."""
    return _validate(name, values | {"name": name}, {})


def _validate(name: str, values: Table, history: History) -> Recipe:
    check_keys(name, Recipe, values, history)
    try:
        recipe: Recipe = recipe_adapter().validate_json(json.dumps(values))
    except ValidationError as error:
        line = complaint(Recipe, values, error.errors(include_url=False), history)
        raise RecipeError(f"recipe {name}: {line}") from error
    return recipe


def _read_delta(path: Path) -> Delta:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe file {path} is not TOML: {error}") from error
    header = {key: values.pop(key) for key in _HEADER if key in values}
    for key, value in header.items():
        strings = isinstance(value, str) if _HEADER[key] is str else _all_strings(value)
        if not strings:
            right = "a string" if _HEADER[key] is str else "a list of strings"
            raise RecipeError(f"recipe {path.stem}: {key} must be {right}, got {shown(value)}")
    if not header.get("because"):
        raise RecipeError(f"recipe {path.stem}: because is missing; one sentence that says why the recipe exists")
    for key in _RESERVED:
        if key in values:
            raise RecipeError(f"recipe {path.stem}: {key} is not written by hand; it follows from the files")
    return Delta(
        name=path.stem,
        path=path,
        extends=header.get("extends"),
        because=header["because"],
        sources=tuple(header.get("sources", ())),
        unset=tuple(header.get("unset", ())),
        values=values,
    )


def _all_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _merge(into: Table, delta: Table, history: dict[str, list[Setting]], file: str, path: str = "") -> None:
    """Lay a delta over a table; a table of another ``kind`` replaces the old one, whose keys mean nothing to it."""
    for key, value in delta.items():
        here = join(path, key)
        old = into.get(key)
        if isinstance(value, dict):
            other_kind = isinstance(old, dict) and "kind" in value and value["kind"] != old.get("kind")
            if other_kind or not isinstance(old, dict):
                _forget(history, here, keep=join(here, "kind"))
                into[key] = {}
            _merge(into[key], value, history, file, here)
        else:
            if isinstance(old, dict):
                _forget(history, here)
            into[key] = value
            history.setdefault(here, []).append(Setting(file, value))


def _unset(values: Table, history: dict[str, list[Setting]], path: str, file: str) -> None:
    """Take a key of a parent back, so that its default holds again."""
    *tables, key = path.split(".")
    table: Any = values
    for name in tables:
        table = table.get(name) if isinstance(table, dict) else None
    if not isinstance(table, dict) or key not in table:
        raise RecipeError(f"recipe {file}: unset names {path}, which no recipe that it extends sets")
    del table[key]
    _forget(history, path)


def _forget(history: dict[str, list[Setting]], path: str, *, keep: str = "") -> None:
    for known in [known for known in history if (known == path or known.startswith(path + ".")) and known != keep]:
        del history[known]
