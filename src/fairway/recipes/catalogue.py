"""Every recipe with its size and whether it has run, as the evidence in the checkout says."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fairway.errors import RecipeError
from fairway.model.parameters import parameter_count
from fairway.quant.forecast import forecast
from fairway.recipes.explain import aligned
from fairway.recipes.load import Resolved, leaves, load_recipe, plain, read_chain, value_at
from fairway.recipes.locate import recipe_folder, recipe_names
from fairway.spec.quant import QuantSpec

Status = Literal["run", "run small", "never run"]

SMOKE_FILE = Path("benchmarks") / "results" / "recipes_smoke.json"
"""Recipe name to what a run at reduced width left: an object with ``recipe_sha256``, the full recipe's hash."""

_STEP_FLOOR = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recipe of the folder."""

    name: str
    parent: str | None
    because: str
    track: str
    source: str | None
    """The last of the pull requests or records that its own file names."""
    parameters: int
    predicted_bytes: int
    predicted_is_bound: bool
    """Whether some grid has a least step, so that small weights take fewer bytes than predicted (recipes D.1)."""
    status: Status


def catalogue(folder: Path | None = None) -> list[Entry]:
    """One entry a recipe, by name."""
    folder = folder or recipe_folder()
    root = folder.parents[1]
    recorded = _recorded(root)
    smoked = _smoked(root)
    return [_entry(folder / f"{name}.toml", recorded, smoked) for name in recipe_names(folder)]


def catalogue_json(entries: list[Entry]) -> str:
    """The entries as a JSON list."""
    return json.dumps([asdict(entry) for entry in entries], indent=2)


def catalogue_text(entries: list[Entry]) -> str:
    """One line a recipe: name, parent, parameters, predicted bytes, status, track, why."""
    rows = [
        (
            entry.name,
            f"from {entry.parent}" if entry.parent else "root",
            f"{entry.parameters:,}",
            ("<" if entry.predicted_is_bound else "") + f"{entry.predicted_bytes:,} B",
            entry.status,
            entry.track,
            entry.because,
        )
        for entry in entries
    ]
    return "\n".join(aligned(rows))


def _entry(path: Path, recorded: list[dict[str, Any]], smoked: dict[str, str]) -> Entry:
    resolved, own = load_recipe(path), read_chain(path)[-1]
    recipe = resolved.recipe
    return Entry(
        name=recipe.name,
        parent=own.extends,
        because=recipe.lineage.because,
        track=recipe.track,
        source=own.sources[-1] if own.sources else None,
        parameters=parameter_count(recipe.model),
        predicted_bytes=forecast(recipe).total_bytes,
        predicted_is_bound=_has_floor(recipe.quant),
        status=_status(resolved, recorded, smoked),
    )


def _has_floor(quant: QuantSpec) -> bool:
    return any(grid.scale_floor > _STEP_FLOOR for grid in (quant.attention, quant.mlp, quant.embedding))


def _status(resolved: Resolved, recorded: list[dict[str, Any]], smoked: dict[str, str]) -> Status:
    """``run``: a committed record of this recipe, all of whose values are still this recipe's."""
    now = plain(resolved.recipe)
    for then in recorded:
        if then.get("name") == resolved.recipe.name and _says_the_same(then, now):
            return "run"
    return "run small" if smoked.get(resolved.recipe.name) == resolved.sha256 else "never run"


def _says_the_same(then: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether every value of a recipe as it was recorded holds today; keys that are newer do not count."""
    known = set(leaves(now))
    decisive = [path for path in leaves(then) if not path.startswith("lineage.")]
    return all(path in known and value_at(now, path) == value_at(then, path) for path in decisive)


def _recorded(root: Path) -> list[dict[str, Any]]:
    """Recipes of the committed records that have a verdict."""
    paths = sorted(root.glob("records/*/*/recipe.json"))
    return [_read(path)["recipe"] for path in paths if (path.parent / "verdict.json").is_file()]


def _smoked(root: Path) -> dict[str, str]:
    path = root / SMOKE_FILE
    if not path.is_file():
        return {}
    return {name: str(result["recipe_sha256"]) for name, result in _read(path).items()}


def _read(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"{path} is not JSON: {error}") from error
    if not isinstance(whole, dict):
        raise RecipeError(f"{path} must hold an object")
    return whole
