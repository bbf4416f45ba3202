"""What a recipe says and which file said it, as text."""

from collections.abc import Iterator, Sequence

from fairway.errors import RecipeError
from fairway.recipes.load import Resolved, changed, leaves, plain, value_at
from fairway.recipes.mistakes import shown


def show(resolved: Resolved, under: str = "") -> str:
    """Every value under a key path with the file it comes from, and what it was before."""
    table = plain(resolved.recipe)
    paths = [path for path in leaves(table) if not under or path == under or path.startswith(under + ".")]
    if not paths:
        raise RecipeError(f"recipe {resolved.recipe.name}: nothing lies under {under}; known: {', '.join(table)}")
    rows = [(path.removeprefix(under + "."), shown(value_at(table, path)), _from(resolved, path)) for path in paths]
    return "\n".join(aligned(rows))


def diff(old: Resolved, new: Resolved) -> str:
    """The values in which two recipes differ; ``-`` where one has none. Name and lineage always differ: left out."""
    rows = [("", old.recipe.name, new.recipe.name)]
    for path, change in changed(old.recipe, new.recipe).items():
        was, now = (shown(change[side]) if side in change else "-" for side in ("was", "is"))
        rows.append((path, was, now))
    return "\n".join(aligned(rows)) if len(rows) > 1 else f"{old.recipe.name} and {new.recipe.name} say the same"


def _from(resolved: Resolved, path: str) -> str:
    text = f"from {resolved.origin[path]}"
    settings = resolved.history.get(path, ())
    if len(settings) > 1:
        text += f" (was {shown(settings[-2].value)} in {settings[-2].file})"
    return text


def aligned(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Lines whose cells stand under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
