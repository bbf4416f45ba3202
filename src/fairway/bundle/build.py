"""A resolved recipe to the two files that ship."""

from dataclasses import dataclass

from fairway.bundle.collect import collect
from fairway.bundle.edits import Source
from fairway.bundle.emit import CALL, emit, literal, sources_of
from fairway.bundle.knowledge import Knowledge, replaced_fields
from fairway.bundle.optimise import is_recipe
from fairway.bundle.shrink import minified, self_extracting
from fairway.bundle.specialise import fields_read, fields_written_out, specialise
from fairway.errors import FairwayError
from fairway.quant.forecast import forecast
from fairway.recipes.load import Resolved
from fairway.recipes.locate import dataset_name

ROOT = "fairway.launch"
"""The module whose needs the file holds."""

_HEAD = """{name}: {because}.

This file is the program of one recipe ({sha256}),
made by fairway from its modules: what the recipe never takes is left out. `train_gpt.py` is the same program, minified
and compressed. Run it whole (`python {{this file}}`, or torchrun) or by stages (`--stage`); `launch` below says how.
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One program in three forms."""

    readable: str
    """``train_gpt_source.py``."""
    minified: str
    """What the packed form unpacks to."""
    packed: bytes
    """``train_gpt.py``."""


def build(resolved: Resolved) -> Bundle:
    """The program of a recipe; equal recipes and equal sources give equal bytes."""
    readable = build_readable(resolved)
    small = small_form(readable, resolved)
    return Bundle(readable, small, self_extracting(small))


def small_form(readable: str, resolved: Resolved) -> str:
    """The program in few bytes, from its readable text and the recipe alone: whoever has both can derive it again."""
    source = Source(readable)
    source.tree.body = [node for node in source.tree.body if not is_recipe(node)]
    knowledge = Knowledge([source.tree], resolved.recipe, replaced_fields([source.tree]))
    return minified(readable, resolved.recipe, fields_written_out([source], knowledge))


def prove(resolved: Resolved, readable: str, packed: bytes) -> None:
    """Derive the packed file from the readable one again; ``FairwayError`` unless it comes out to the last byte."""
    if resolved.sha256 not in readable:
        raise FairwayError(f"train_gpt_source.py is not of recipe {resolved.recipe.name} ({resolved.sha256})")
    if self_extracting(small_form(readable, resolved)) != packed:
        raise FairwayError("train_gpt.py is not what this version of fairway makes of train_gpt_source.py")


def build_readable(resolved: Resolved) -> str:
    """The program as people read it."""
    recipe = resolved.recipe
    call = CALL.format(
        recipe_sha256=repr(resolved.sha256),
        forecast_bytes=forecast(recipe).total_bytes,
        data=repr(f"data/{dataset_name(recipe.data)}"),
    ).replace("'", '"')
    whole = specialise(collect(ROOT), recipe, f"RECIPE = Recipe()\n{call}")
    sources = sources_of(whole)
    trees = [source.tree for source in sources]
    knowledge = Knowledge(trees, recipe, replaced_fields(trees))
    read = fields_read(sources, knowledge)
    for name in knowledge.made:
        read[name] |= {field for one in knowledge.instances.get(name, []) for field in one.__slots__}
    head = _HEAD.format(name=recipe.name, because=recipe.lineage.because, sha256=resolved.sha256)
    return emit(whole, head, f"RECIPE = {literal(recipe, read)}\n{call}")
