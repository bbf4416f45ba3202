"""A published command to a recipe: environment variables of the field's scripts in terms of recipe keys.

What a script's variables mean is data: one file a stack of scripts under ``aliases/``, beside the recipes. It names
the recipe nearest to the script (``extends``), where the script differs from it with nothing set (``defaults``), and
for each variable the key it sets, the choices it offers, or why it has no effect here.
"""

import copy
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from fairway.errors import RecipeError
from fairway.recipes.load import changed, load_recipe, plain, validated, value_at
from fairway.recipes.locate import recipe_folder, recipe_names
from fairway.recipes.mistakes import Table, shown
from fairway.spec.recipe import Recipe

_ASSIGNMENT = re.compile(r"([A-Z][A-Z0-9_]*)=(.*)", flags=re.DOTALL)
_SECTIONS = ("defaults", "integers", "numbers", "choices", "without_effect")


@dataclass(frozen=True, slots=True)
class Aliased:
    """What a command comes to."""

    recipe: Recipe
    """Named after the stack; its lineage is that of the recipe it extends."""
    extends: str
    equals: str | None
    """The recipe of the folder that says the same, if there is one."""
    notes: tuple[str, ...]
    """What was given and has no effect, and why."""

    def to_toml(self) -> str:
        """The command as a recipe file: a delta on the recipe that it extends."""
        parent = load_recipe(self.extends).recipe
        lines = [f'extends = "{self.extends}"', 'because = "a published command, given as its environment variables"']
        lines += [f"seeds = {shown(self.recipe.seeds)}"] if self.recipe.seeds != parent.seeds else []
        for path, change in changed(parent, self.recipe).items():
            if change.get("is") is not None and path != "seeds":
                lines.append(f"{path} = {shown(change['is'])}")
        return "\n".join(lines) + "\n"


def from_environment(stack: str, command: str) -> Aliased:
    """The recipe of a shell command such as ``SEED=1 MATRIX_LR=0.026 torchrun ...``; ``RecipeError`` for the unknown.

    Words that are no assignments are left out, and so is what a shell would have to expand.
    """
    aliases = _read(stack)
    given = assignments(command)
    values = plain(load_recipe(aliases["extends"]).recipe)
    _lay_over(values, aliases["defaults"])
    notes = []
    for name, text in given.items():
        if name in aliases["without_effect"]:
            notes.append(f"{name} has no effect here: {aliases['without_effect'][name]}")
        elif name == "SEED":
            values["seeds"] = [_number(name, text, int)]
        elif name in aliases["integers"]:
            _put(values, aliases["integers"][name], _number(name, text, int), f"{name} of {stack}")
        elif name in aliases["numbers"]:
            _put(values, aliases["numbers"][name], _number(name, text, float), f"{name} of {stack}")
        elif name not in aliases["choices"]:
            raise RecipeError(_unknown(name, stack, aliases))
    for name, choice in aliases["choices"].items():
        _choose(values, name, given.get(name), choice, f"{name} of {stack}")
    recipe = validated(stack, values)
    return Aliased(recipe, aliases["extends"], _twin(recipe, aliases["extends"]), tuple(notes))


def stacks() -> list[str]:
    """Names of all stacks whose variables are known."""
    return recipe_names(_folder())


def _folder() -> Path:
    return recipe_folder() / "aliases"


def _read(stack: str) -> dict[str, Any]:
    path = _folder() / f"{stack}.toml"
    if not path.is_file():
        raise RecipeError(f"no stack is named {stack!r}; there are {', '.join(stacks())}")
    return dict.fromkeys(_SECTIONS, {}) | tomllib.loads(path.read_text(encoding="utf-8"))


def assignments(command: str) -> dict[str, str]:
    """Variables that a shell command sets, by name; what a shell would have to expand is left out."""
    try:
        words = shlex.split(command.replace("\\\n", " "))
    except ValueError as error:
        raise RecipeError(f"the command cannot be read as a shell would: {error}") from error
    found = [match for word in words if (match := _ASSIGNMENT.fullmatch(word.rstrip(";")))]
    return {match[1]: match[2] for match in found if not match[2].startswith("$")}


def _number(name: str, text: str, kind: type[int] | type[float]) -> int | float:
    try:
        return kind(text)
    except ValueError as error:
        right = "an integer" if kind is int else "a number"
        raise RecipeError(f"{name} must be {right}, got {text!r}") from error


def _choose(values: Table, name: str, text: str | None, choice: Mapping[str, Any], where: str) -> None:
    known = {value: act for value, act in choice.items() if value != "default"}
    value = choice["default"] if text is None else text
    if value not in known:
        got = f"got {value!r}" if text is not None else f"but the script takes {value!r} where it is not set"
        raise RecipeError(f"{name} must be one of {', '.join(known)}, {got}")
    for path, inner in known[value].get("set", {}).items():
        _put(values, path, inner, where)
    for path, origin in known[value].get("copy", {}).items():
        _put(values, path, copy.deepcopy(value_at(values, origin)), where)


def _put(values: Table, path: str, value: Any, where: str) -> None:
    *tables, key = path.split(".")
    for name in tables:
        values = values.get(name, {})
    if key not in values:
        raise RecipeError(f"{where} sets {path}, which the recipe that the stack extends does not have")
    values[key] = value


def _lay_over(values: Table, delta: Mapping[str, Any]) -> None:
    for key, value in delta.items():
        if isinstance(value, dict):
            _lay_over(values[key], value)
        else:
            values[key] = value


def _unknown(name: str, stack: str, aliases: Mapping[str, Any]) -> str:
    known = ["SEED", *(variable for section in _SECTIONS[1:] for variable in aliases[section])]
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"
    return f"{name} is not a variable of {stack}; {hint}"


def _twin(recipe: Recipe, extends: str) -> str | None:
    """The nearest recipe that differs in nothing but name and lineage, and has all of its seeds."""
    for name in (extends, *recipe_names()):
        other = load_recipe(name).recipe
        if set(recipe.seeds) <= set(other.seeds) and not set(changed(other, recipe)) - {"seeds"}:
            return name
    return None
