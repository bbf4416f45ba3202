"""One checkpoint rounded in several ways by its recipe, and what each document then costs."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from fairway.data.documents import document_lengths
from fairway.errors import DataError
from fairway.model.banks import bank
from fairway.model.gpt import Gpt
from fairway.quant.pipeline import pack, rotate_gptq, rotation_deviation, unpack
from fairway.quant.rates import scalar_grid
from fairway.quant.rotation import rotations
from fairway.records.figures import document_scores
from fairway.records.ledgers import read_ledger
from fairway.runtime.events import EventLog
from fairway.runtime.ranks import Ranks
from fairway.score.evaluate import evaluate
from fairway.spec.model import Loops
from fairway.spec.quant import Hadamard, HandSet, NoRotation, QuantSpec, TrellisGrid
from fairway.spec.recipe import Recipe
from fairway.spec.score import Flat
from fairway.studies.checkpoint import Checkpoint
from fairway.studies.resampling import Floats
from fairway.train.checkpoint import load_model

ALONE = Ranks(rank=0, world=1, device=torch.device("cpu"))
_NO_BUDGET_S = 1e9
FLOAT, PLAIN, ROTATED = "float", "rounded", "rotated"


@dataclass(frozen=True, slots=True, eq=False)
class Costs:
    """What each document costs: nats, and the bytes of text that it spells."""

    nats_D: Floats
    bytes_D: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """One checkpoint under every rounding."""

    name: str
    costs: Mapping[str, Costs]
    sizes: Mapping[str, int]
    """Bytes of each artifact."""
    logit_change: float
    """What rotation alone changes in the float model, in a softcapped logit."""

    def of(self, chosen_D: NDArray[np.bool_]) -> "Scored":
        """The same over a part of the documents."""
        costs = {name: Costs(own.nats_D[chosen_D], own.bytes_D[chosen_D]) for name, own in self.costs.items()}
        return replace(self, costs=costs)


def by_hand(quant: QuantSpec) -> QuantSpec:
    """The recipe's rounding at the steps of its grids, each weight by itself; of a trellis scalar steps of its rate.

    Rates that fill a file would hide in the score what another rounding changes in bytes; and a triangle has no paths.
    """
    attention, mlp, embedding = (
        scalar_grid(grid) if isinstance(grid, TrellisGrid) else grid
        for grid in (quant.attention, quant.mlp, quant.embedding)
    )
    return replace(quant, rates=HandSet(), attention=attention, mlp=mlp, embedding=embedding)


def turned(quant: QuantSpec, rotation: NoRotation | Hadamard) -> QuantSpec:
    """The recipe's rounding by hand with this rotation, folded back at load: online it computes the same for more.

    ``DataError`` where the recipe cannot be rotated.
    """
    try:
        return replace(by_hand(quant), rotation=rotation, rotate_online=False)
    except ValueError as error:
        raise DataError(f"the recipe's quantization cannot have this rotation: {error}") from error


def other_seeds(rotation: NoRotation | Hadamard, count: int) -> list[Hadamard]:
    """Further rotations of the same kind, by the seeds that follow the recipe's."""
    seed = own_rotation(rotation).seed
    return [Hadamard(seed=seed + i) for i in range(1, count + 1)]


def own_rotation(rotation: NoRotation | Hadamard) -> Hadamard:
    """The recipe's rotation; the default one where it has none."""
    return rotation if isinstance(rotation, Hadamard) else Hadamard()


def rounded(model: Gpt, hessians: Mapping[str, Tensor], quant: QuantSpec) -> tuple[Gpt, int]:
    """The model as it comes back from an artifact, and the artifact's bytes."""
    data = pack(rotate_gptq(model, hessians, quant), quant, {})
    state, _ = unpack(data, quant)
    back = Gpt(model.spec)
    back.load_state_dict(bank(state, model.spec))
    return back, len(data)


def first_documents(tokens_N: Tensor, most_tokens: int) -> tuple[Tensor, list[int]]:
    """Whole documents from the beginning of the stream, at most so many tokens but at least one document."""
    kept: list[int] = []
    for length in document_lengths(tokens_N):
        if kept and sum(kept) + length > most_tokens:
            break
        kept.append(length)
    return tokens_N[: sum(kept)], kept


def document_costs(model: Gpt, tokens_N: Tensor, bytes_N: Tensor, lengths: list[int], recipe: Recipe) -> Costs:
    """Each document by the flat method: rows of the recipe's context, no document sees another, nothing adapts."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        evaluate(
            model,
            tokens_N,
            bytes_N,
            replace(recipe.score, budget_s=_NO_BUDGET_S, ranks="first"),
            Flat(),
            seed=0,
            looped=isinstance(recipe.model.loops, Loops),
            ledger_path=path,
            events=EventLog(None, stage="study"),
            name="flat",
            artifact_sha256="0" * 64,
            ranks=ALONE,
        )
        return Costs(*document_scores(read_ledger(path), np.asarray(lengths, dtype=np.int64)))


def score_roundings(
    checkpoint: Checkpoint,
    hessians: Mapping[str, Tensor],
    recipe: Recipe,
    tokens_N: Int[Tensor, " N"],
    bytes_N: Int[Tensor, " N"],
    lengths: list[int],
    others: int,
) -> Scored:
    """Float weights, and those rounded without rotation, with the recipe's own and with ``others`` of other seeds."""
    model = load_model(checkpoint.path, recipe.model)
    own = own_rotation(recipe.quant.rotation)
    roundings: dict[str, NoRotation | Hadamard] = {PLAIN: NoRotation(), ROTATED: own}
    for other in other_seeds(own, others):
        roundings[f"rotated by seed {other.seed}"] = other
    costs = {FLOAT: document_costs(model, tokens_N, bytes_N, lengths, recipe)}
    sizes = {}
    for name, rotation in roundings.items():
        back, sizes[name] = rounded(model, hessians, turned(recipe.quant, rotation))
        costs[name] = document_costs(back, tokens_N, bytes_N, lengths, recipe)
    turns = rotations({name: tuple(w.shape) for name, w in checkpoint.state.items()}, own)
    with torch.no_grad():
        change = rotation_deviation(recipe.model, checkpoint.state, turns)
    return Scored(checkpoint.name, costs, sizes, change)
