"""What is wrong with a recipe, in one line: key path, value, the file that set it, what would be right."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic_core import ErrorDetails

from fairway.errors import RecipeError

Table = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setting:
    """One file giving one key a value."""

    file: str
    value: Any


History = Mapping[str, Sequence[Setting]]
"""Key path to its settings, oldest first; the last one counts."""


def branches(kind_of: Any) -> dict[str, type]:
    """The dataclasses of a tagged union by their ``kind``; empty for every other type."""
    if get_origin(kind_of) not in (Union, UnionType):
        return {}
    members = [member for member in get_args(kind_of) if is_dataclass(member)]
    return {get_args(get_type_hints(member)["kind"])[0]: member for member in members if isinstance(member, type)}


def expected(kind_of: Any) -> str:
    """What a value of the type looks like in a recipe, in words."""
    if get_origin(kind_of) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind_of)))
    if get_origin(kind_of) is tuple:
        return "a list of " + {int: "integers", str: "strings"}[get_args(kind_of)[0]]
    if get_origin(kind_of) in (Union, UnionType):
        members = [member for member in get_args(kind_of) if member is not NoneType]
        return "a table" if is_dataclass(members[0]) else " or ".join(map(expected, members))
    names = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
    return names.get(kind_of, "a table")


def set_by(path: str, history: History) -> str:
    """Who set the value and what it was before: `` (set by wide, was 6 in baseline)``."""
    settings = history.get(path, ())
    if not settings:
        return ""
    text = f"set by {settings[-1].file}"
    if len(settings) > 1:
        text += f", was {shown(settings[-2].value)} in {settings[-2].file}"
    return f" ({text})"


def shown(value: Any) -> str:
    """A value as TOML would spell it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(shown, value)) + "]"
    return "null" if value is None else str(value)


def join(*parts: str | int) -> str:
    """Key path from its parts, empty ones left out."""
    return ".".join(str(part) for part in parts if part != "")


def check_keys(recipe: str, kind_of: Any, value: Any, history: History, path: str = "") -> None:
    """Refuse keys nobody knows, kinds that do not exist, and values that no recipe can hold."""
    options = branches(kind_of)
    if options or is_dataclass(kind_of):
        if not isinstance(value, dict):
            raise RecipeError(f"recipe {recipe}: {path} must be a table, got {shown(value)}{set_by(path, history)}")
    if options:
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in options:
            got = "but it is missing" if kind is None else f"got {shown(kind)}"
            where = set_by(join(path, "kind"), history) or first_set_by(path, value, history)
            raise RecipeError(f"recipe {recipe}: {path}.kind must be one of {', '.join(options)}, {got}{where}")
        kind_of = options[kind]
    if is_dataclass(kind_of) and isinstance(kind_of, type):
        hints = get_type_hints(kind_of)
        keys = [field.name for field in fields(kind_of)]
        for key, inner in value.items():
            if key not in keys:
                raise RecipeError(f"recipe {recipe}: {unknown_key(path, key, keys, inner, history)}")
            check_keys(recipe, hints[key], inner, history, join(path, key))
        return
    bad = unwritable(value)
    if bad is not None:
        raise RecipeError(
            f"recipe {recipe}: {path} must be {expected(kind_of)}, got {bad}{set_by(path, history)}",
        )


def first_set_by(path: str, value: Table, history: History) -> str:
    """Who set the first key of a table."""
    return next((set_by(join(path, key), history) for key in value if history.get(join(path, key))), "")


def unknown_key(path: str, key: str, keys: Sequence[str], value: Any, history: History) -> str:
    """The sentence about a key nobody knows."""
    name = join(path, key)
    close = get_close_matches(key, keys, n=1)
    hint = f"did you mean {join(path, close[0])}?" if close else f"known here: {', '.join(keys)}"
    got = "" if isinstance(value, dict) else f" = {shown(value)}"
    by = set_by(name, history) or (first_set_by(name, value, history) if isinstance(value, dict) else "")
    return f"{name}{got} is not a key{by}; {hint}"


def unwritable(value: Any) -> str | None:
    """How a value that JSON cannot carry looks: a date, an infinity, a table in a list; None for any other."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list):
        return next((bad for bad in map(unwritable, value) if bad is not None), None)
    if isinstance(value, dict):
        return "a table"
    return None if value is None or isinstance(value, str | int | float) else str(value)


def complaint(kind_of: Any, value: Any, errors: Iterable[ErrorDetails], history: History) -> str:
    """One line for the first error that concerns the branch of each union that was chosen; says how many more."""
    lines = [line for error in errors if (line := _sentence(kind_of, value, error, history)) is not None]
    assert lines, "a refused recipe must have a reason"
    more = len(lines) - 1
    return lines[0] + (f"; {more} more after that" if more else "")


def _sentence(kind_of: Any, value: Any, error: ErrorDetails, history: History) -> str | None:
    keys: list[str] = []
    for part in error["loc"]:
        options = branches(kind_of)
        if options:
            chosen = options[value["kind"]]
            if part != chosen.__name__:
                return None
            kind_of = chosen
        elif is_dataclass(kind_of) and isinstance(kind_of, type):
            kind_of = get_type_hints(kind_of)[str(part)]
            keys.append(str(part))
            value = value.get(part) if isinstance(value, dict) else None
    path = join(*keys)
    if error["type"] == "value_error":
        return _broken_promise(path, kind_of, str(error.get("ctx", {})["error"]), history)
    if error["type"].startswith("missing"):
        return f"{path} is missing; it must be {expected(kind_of)}"
    return f"{path} must be {expected(kind_of)}, got {shown(value)}{set_by(path, history)}"


def _broken_promise(path: str, kind_of: Any, message: str, history: History) -> str:
    """What ``__post_init__`` said, with the path of the key it begins with and the files behind each key it names."""
    if branches(kind_of):
        keys = {field.name for member in branches(kind_of).values() for field in fields(member)}
    else:
        keys = {field.name for field in fields(kind_of)}
    first = re.match(r"[a-z_]+", message)
    named = [
        word for word in dict.fromkeys(re.findall(r"[a-z_][a-z_.]*[a-z_]", message)) if history.get(join(path, word))
    ]
    if first is not None and first[0] in keys:
        message = join(path, message)
    elif path:
        message = f"{path}: {message}"
    if len(named) == 1:
        return message + set_by(join(path, named[0]), history)
    origins = ", ".join(f"{word} set by {history[join(path, word)][-1].file}" for word in named)
    return message + (f" ({origins})" if origins else "")
