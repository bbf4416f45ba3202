"""From ``submission.json`` to the claim: one layout of many to one set of names.

The spellings are data (``aliases.toml``). A value of the wrong type is a problem with its line; what can be understood
of it all the same (a number in a string, a single seed, a list parallel to the seeds) is taken.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from fairway.errors import DataError
from fairway.verify.claims import lenient
from fairway.verify.claims.claim import Claim, SeedClaim
from fairway.verify.strict_json import Written, is_integer, is_number
from fairway.verify.tree import Tree

SUBMISSION = "submission.json"
LIMIT_BYTES = 4_000_000

_OTHER_NAME = re.compile(r"submission[^/]*\.json", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?[0-9][0-9,_]*(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_SEED = re.compile(r"(?:^|[^0-9])([0-9]{1,18})$")
_THOUSANDTH = "/1000"
_Problems = list[tuple[str, str]]
"""Message, and the key that it is about."""


def read_claim(tree: Tree) -> tuple[str | None, Claim | None, str]:
    """The file that holds the claim, the claim, and the file's text.

    No file: ``(None, None, "")``. A file that holds no object: a claim of nothing, with the problems.
    """
    file = _file(tree)
    if file is None:
        return None, None, ""
    try:
        data = tree.read(file, LIMIT_BYTES)
    except DataError as error:
        return file, Claim(file=file, raw={}, parses=False, problems=((f"cannot be read: {error}", None),)), ""
    text = data.decode("utf-8", "replace")
    return file, claim_of(file, data), text


def claim_of(file: str, data: bytes) -> Claim:
    """The claim that the bytes of a file make; what is wrong with them is in its problems."""
    read = lenient.parse(data)
    if not isinstance(read.value, dict):
        wrong = () if read.value is None and read.problems else ((f"holds no object: {_kind(read.value)}", 1),)
        return Claim(file=file, raw={}, parses=read.parses, problems=(*read.problems, *wrong))
    raw: dict[str, Any] = read.value
    text = data.decode("utf-8", "replace")
    problems: _Problems = []
    spelled: dict[str, str] = {}
    values = {name: _top(raw, name, keys, spelled, problems) for name, keys in _aliases()["top"].items()}
    seeds = _seeds(raw, "seeds", problems)
    per_seed = _per_seed(raw, seeds, problems)
    if seeds is None and per_seed:
        seeds = tuple(sorted(int(seed) for seed in per_seed))
    if seeds is None:
        seeds = _seeds(raw, "seed", problems)
    return Claim(
        file=file,
        raw=raw,
        author=_text(values["author"]),
        github_id=_text(values["github_id"]),
        name=_text(values["name"]),
        date=_text(values["date"]),
        track=_text(values["track"]),
        val_bpb=values["val_bpb"],
        val_bpb_std=values["val_bpb_std"],
        val_loss=values["val_loss"],
        val_loss_std=values["val_loss_std"],
        bytes_total=_whole(values["bytes_total"], "bytes_total", spelled, problems),
        bytes_code=_whole(values["bytes_code"], "bytes_code", spelled, problems),
        bytes_model=_whole(values["bytes_model"], "bytes_model", spelled, problems),
        train_s=values["train_s"],
        eval_s=values["eval_s"],
        steps=values["steps"],
        step_ms=values["step_ms"],
        seeds=seeds,
        per_seed=per_seed,
        hardware=_text(values["hardware"]),
        spelled=spelled,
        predecessor=_text(values["predecessor"]),
        parses=read.parses,
        problems=(*read.problems, *((message, _line(text, key)) for message, key in problems)),
    )


def spellings_given(raw: Mapping[str, Any], name: str) -> dict[str, float]:
    """Every spelling of a numeric field that the file gives as a number, in the order in which they count."""
    given = {key: raw.get(key) for key in _aliases()["top"][name]}
    return {key: _real(value) for key, value in given.items() if is_number(value)}


@cache
def _aliases() -> dict[str, dict[str, list[str]]]:
    file = Path(__file__).with_name("aliases.toml")
    table: dict[str, dict[str, list[str]]] = tomllib.loads(file.read_text(encoding="utf-8"))
    return table


def _file(tree: Tree) -> str | None:
    """``submission.json``, or the first other file at the top that is called submission-something."""
    if SUBMISSION in tree.files:
        return SUBMISSION
    return next((path for path in tree.files if _OTHER_NAME.fullmatch(path)), None)


_NUMERIC = (
    "val_bpb",
    "val_bpb_std",
    "val_loss",
    "val_loss_std",
    "bytes_total",
    "bytes_code",
    "bytes_model",
    "train_s",
    "eval_s",
    "steps",
    "step_ms",
)


def _top(raw: Mapping[str, Any], name: str, keys: Sequence[str], spelled: dict[str, str], problems: _Problems) -> Any:
    for key in keys:
        written = key.removesuffix(_THOUSANDTH)
        value = raw.get(written)
        if value is None or value == "":
            continue
        if name not in _NUMERIC:
            spelled[name] = written
            return value
        number = _headline(value, written, problems)
        if number is not None:
            spelled[name] = written
            return _seconds(number) if key.endswith(_THOUSANDTH) else number
    return None


def _headline(value: Any, key: str, problems: _Problems) -> float | None:
    """A number; of several (a list, or an object by seed) the largest."""
    if isinstance(value, (list, dict)):
        items = value.values() if isinstance(value, dict) else value
        numbers = [_real(item) for item in items if is_number(item)]
        if numbers:
            return max(numbers)
        problems.append((f"{key} is {_kind(value)}, it must be a number", key))
        return None
    return _number(value, key, problems)


def _number(value: Any, key: str, problems: _Problems) -> float | None:
    if is_number(value):
        return _real(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        problems.append((f"{key} is the string {lenient.shown(value)}, it must be a number", key))
        try:
            return Written(value.strip().replace(",", "").replace("_", ""))
        except ValueError:
            return None
    problems.append((f"{key} is {_kind(value)}, it must be a number", key))
    return None


def _real(value: Any) -> Written:
    """A number of JSON as a real one that remembers its digits."""
    return value if isinstance(value, Written) else Written(str(value))


def _whole(value: float | None, name: str, spelled: Mapping[str, str], problems: _Problems) -> int | None:
    """A number of bytes; a mean is rounded."""
    if value is None:
        return None
    key = spelled.get(name, name)
    if value < 1_000 and not value.is_integer():
        problems.append((f"{key} is {_written(value)}, which looks like megabytes; it must be bytes", key))
        return None
    return round(value)


def _seeds(raw: Mapping[str, Any], key: str, problems: _Problems) -> tuple[int, ...] | None:
    value = raw.get(key)
    items = value if isinstance(value, list) else [value] if is_integer(value) else []
    found = [item for item in map(_seed, items) if item is not None]
    if not found or len(found) != len(items):
        return None
    if len(set(found)) != len(found):
        problems.append((f"{key} names a seed twice: {lenient.shown(found)}", key))
    return tuple(found)


def _per_seed(raw: Mapping[str, Any], seeds: Sequence[int] | None, problems: _Problems) -> dict[str, SeedClaim] | None:
    found: dict[str, dict[str, Any]] = {}
    for key in _aliases()["lists"]["per_seed"]:
        entries = _entries(raw.get(key))
        if entries:
            for seed, entry in entries:
                found[seed] = _of_seed(entry, f"{key}.{seed}", problems)
            break
    for name, keys in _aliases()["parallel"].items():
        for key in keys:
            for seed, value in _parallel(raw.get(key), seeds, found):
                found.setdefault(seed, {}).setdefault(name, value)
    return {seed: SeedClaim(**values) for seed, values in found.items()} or None


def _entries(value: Any) -> list[tuple[str, Any]]:
    """Seed and result, where ``value`` holds results of seeds."""
    if isinstance(value, dict):
        pairs = [(_seed(key), entry) for key, entry in value.items()]
    elif isinstance(value, list):
        pairs = [(_seed(entry.get("seed")), entry) for entry in value if isinstance(entry, dict)]
    else:
        return []
    return [
        (str(seed), entry)
        for seed, entry in pairs
        if seed is not None and (isinstance(entry, dict) or is_number(entry))
    ]


def _of_seed(entry: Any, where: str, problems: _Problems) -> dict[str, Any]:
    if not isinstance(entry, dict):
        return {"val_bpb": _real(entry)}
    values: dict[str, Any] = {}
    for name, keys in _aliases()["per_seed"].items():
        for key in keys:
            written = key.removesuffix(_THOUSANDTH)
            if not is_number(entry.get(written)):
                continue
            number = _real(entry[written])
            if name in ("bytes_total", "steps"):
                values[name] = round(number)
                break
            if key.endswith(_THOUSANDTH):
                values[f"{name.removesuffix('_s')}_ms"] = round(number)
                number = _seconds(number)
            values[name] = number
            break
    if "val_bpb" in entry and "val_bpb" not in values:
        problems.append((f"{where}.val_bpb is {_kind(entry['val_bpb'])}, it must be a number", "val_bpb"))
    return values


def _parallel(value: Any, seeds: Sequence[int] | None, found: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Seed and number, of a list in the order of the seeds, or of an object by seed."""
    names = [str(seed) for seed in seeds] if seeds is not None else list(found)
    if isinstance(value, dict):
        pairs = [(str(seed), number) for key, number in value.items() if (seed := _seed(key)) is not None]
    elif isinstance(value, list) and len(value) == len(names):
        pairs = list(zip(names, value, strict=True))
    else:
        return []
    return [(seed, _real(number)) for seed, number in pairs if is_number(number)]


def _seed(value: Any) -> int | None:
    if is_integer(value):
        return int(value)
    match = _SEED.search(value) if isinstance(value, str) else None
    return int(match.group(1)) if match else None


def _seconds(milliseconds: float) -> Written:
    return Written(str(float(milliseconds) / 1000.0))


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value.strip() or None
    return None if value is None else lenient.shown(value)


def _written(value: float) -> str:
    return value.text if isinstance(value, Written) else str(value)


def _kind(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return "null" if value is None else lenient.shown(value)


def _line(text: str, key: str) -> int | None:
    at = text.find(f'"{key}"')
    return lenient.line_at(text, at)
