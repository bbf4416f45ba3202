"""A recipe's name to its file, and its data to a folder."""

import hashlib
import json
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path

from fairway.errors import RecipeError
from fairway.spec.data import DataSpec, HubCorpus

FOLDER = Path("workflow") / "recipes"


def recipe_folder(start: Path | None = None) -> Path:
    """The nearest ``workflow/recipes`` at or above ``start`` (the current folder), else the checkout's own."""
    here = (start or Path.cwd()).resolve()
    package = Path(__file__).resolve().parents[1]  # an installed wheel holds the folder itself
    checkout = package.parents[1]
    for folder in (here, *here.parents, checkout, package):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    raise RecipeError(f"no folder {FOLDER} at or above {here}; run from the repository or name a recipe by its path")


def recipe_names(folder: Path | None = None) -> list[str]:
    """Names of all recipes of the folder, sorted."""
    return sorted(path.stem for path in (folder or recipe_folder()).glob("*.toml"))


def find_recipe(name_or_path: str | Path, *, beside: Path | None = None) -> Path:
    """The file of a recipe, given by path (ends in .toml) or by name; ``beside`` is searched before the folder."""
    if str(name_or_path).endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise RecipeError(f"recipe file {path} does not exist")
        return path
    name = str(name_or_path)
    if beside is not None and (beside / f"{name}.toml").is_file():
        return beside / f"{name}.toml"
    folder = recipe_folder()
    path = folder / f"{name}.toml"
    if path.is_file():
        return path
    names = recipe_names(folder)
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(names) or 'none'}"
    raise RecipeError(f"no recipe is named {name!r} in {FOLDER}; {hint}")


def dataset_name(spec: DataSpec) -> str:
    """Folder of a dataset: what it is in words, then eight digits of its spec's hash, so that equal specs share it."""
    corpus = spec.corpus.variant if isinstance(spec.corpus, HubCorpus) else f"{spec.corpus.kind}_v{spec.vocab_size}"
    canonical = json.dumps(asdict(spec), sort_keys=True, separators=(",", ":"))
    return f"{corpus}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"
