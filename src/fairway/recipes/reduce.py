"""A recipe at a size that a CPU trains in seconds, with every mechanism that it has.

Sizes shrink and nothing else. A field is told by its name wherever it stands in a recipe, so that a mechanism that is
new needs a line here only if it brings a size of a new name:

- channels keep their share of the model's width, which becomes 64 at most;
- tokens, steps, documents, rows and ranks are cut to a most;
- layers, loops, lanes, heads, skips, rates, bits, quantiles and every choice stay;
- steps are counted instead of seconds, and the running average forgets within them;
- the corpus is the embedded one, shuffled so that what is held out is short; the track is ``tiny``, which fixes no
  validation set;
- one thread, so that recipes can run side by side, and nothing compiled, which would take minutes on a CPU;
- paths through a trellis are torch's where the recipe has a GPU find them: the same ones.
"""

from dataclasses import fields, is_dataclass, replace
from typing import Any

from fairway.recipes.load import Resolved, digest, leaves, plain
from fairway.spec.data import EmbeddedCorpus
from fairway.spec.quant import TrellisGrid
from fairway.spec.recipe import Recipe

REDUCED = "reduced"
"""Origin of every value of a recipe that was made here."""

TRACK = "tiny"

_WIDTH = 64

_SHORT_DOCUMENTS = 286
"""The shuffle, of the first thousand, that holds out the fewest bytes with eight documents: 12,962."""

_CHANNELS = frozenset({"width", "mlp_width", "rope_dims", "q_rank", "angle_pairs"})
"""Fields in proportion to the model's width; an even number remains."""

_MOST = {
    # data
    "vocab_size": 512,
    "val_docs": 8,
    "shard_tokens": 100_000,
    # model
    "adapter_rank": 4,
    "buckets": 64,
    # training: `steps` are enough for rates to fall below every multiplier that switches something on
    "context": 128,
    "batch_tokens": 1024,
    "micro_batch_tokens": 512,
    "steps": 16,
    "warmup_steps": 1,
    "warmdown_steps": 12,
    "momentum_warmup_steps": 8,
    "every": 1,
    "keep": 4,
    "ema_decay": 0.5,
    "calibration_batches": 2,
    "log_every": 1,
    "budget_s": 240.0,
    "reserve_s": 60.0,
    # quantization
    "block": 32,
    "rank": 4,
    "sequences": 4,
    "tokens": 64,
    "batch": 2,
    # evaluation: of eight documents in batches of two, three phases see two, four and six
    "stride": 32,
    "chunk": 32,
    "chunk_tokens": 512,
    "batch_docs": 2,
    "prefix_docs": 6,
    "hash_rows": 256,
}
"""The most that a field of this name may be."""


def reduced(recipe: Recipe) -> Recipe:
    """The same recipe in small; ``ValueError`` if it has sizes that do not fit each other once they are cut."""
    scale = min(1.0, _WIDTH / recipe.model.width)
    small = _shrunk(recipe, scale)
    assert isinstance(small, Recipe)
    return replace(
        small,
        name=f"{recipe.name}-small",
        track=TRACK,
        seeds=recipe.seeds[:1],
        lineage=replace(
            recipe.lineage,
            parents=(recipe.name, *recipe.lineage.parents),
            because=f"every mechanism of {recipe.name} at a size that a CPU trains in seconds",
        ),
        data=replace(small.data, corpus=EmbeddedCorpus(), shuffle_seed=_SHORT_DOCUMENTS),
        train=replace(small.train, steps=int(small.train.steps or _MOST["steps"]), threads=1, compile=False),
    )


def resolved_small(recipe: Recipe) -> Resolved:
    """``reduced``, with the hash that names it."""
    small = reduced(recipe)
    return Resolved(small, dict.fromkeys(leaves(plain(small)), REDUCED), digest(small))


def _shrunk(part: Any, scale: float) -> Any:
    """A part of a recipe and all that it holds; its own checks see the new sizes together."""
    found = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if is_dataclass(value):
            found[field.name] = _shrunk(value, scale)
        elif isinstance(value, bool) or not isinstance(value, int | float):
            continue
        elif field.name in _CHANNELS:
            found[field.name] = value if scale == 1.0 or not value else max(2, 2 * round(value * scale / 2))
        elif field.name in _MOST:
            found[field.name] = min(value, _MOST[field.name])
    if isinstance(part, TrellisGrid) and part.engine == "triton":
        found["engine"] = "torch"
    return replace(part, **found)
