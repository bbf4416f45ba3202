"""Q and O made symmetric after training: bytes and score, beside a symmetry that training cannot have prepared.

(W + W^T) / 2 halves the degrees of freedom. So does (W + D W^T D) / 2 with a diagonal D of random signs, which is as
many dimensions, in another place: if W has learned to be symmetric, the first hurts less than the second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fairway.model.banks import bank
from fairway.model.gpt import Gpt
from fairway.model.weights import symmetric
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.plan import plan
from fairway.spec.quant import Nearest, NoRotation, NoTriangles, QuantSpec, Triangles
from fairway.spec.recipe import Recipe
from fairway.spec.roles import matrix_name
from fairway.studies.roundings import by_hand
from fairway.studies.scoring import Text, flat_bpb


@dataclass(frozen=True, slots=True, kw_only=True)
class Forced:
    """What the symmetry of some layers costs; bits per byte are of a part of validation."""

    layers: tuple[int, ...]
    float_bpb: float
    rounded_bpb: float
    random_sign_bpb: float
    """Of float weights that are symmetric but for random signs."""
    whole_bytes: int
    """The artifact, with both triangles stored."""
    triangle_bytes: int
    """The artifact, with one triangle of each."""


def quant_of(recipe: Recipe, triangles: NoTriangles | Triangles) -> QuantSpec:
    """The recipe's grids and codec, rounded to nearest and unrotated: a rotated matrix is not symmetric."""
    quant = by_hand(recipe.quant)
    return replace(quant, rounding=Nearest(), rotation=NoRotation(), rotate_online=False, triangles=triangles)


def force(recipe: Recipe, state: Mapping[str, Tensor], layers: Sequence[int], text: Text, draw: Generator) -> Forced:
    """Make Q and O of ``layers`` symmetric, or of none, and see what becomes of bytes and score."""
    names = [matrix_name(layer, part) for layer in layers for part in ("q", "o")]
    even = {name: symmetric(state[name]) for name in names}
    signed = {name: sign_symmetric(state[name], draw) for name in names}
    whole = Triangles(layers=tuple(layers), whole=True) if layers else NoTriangles()
    single = Triangles(layers=tuple(layers)) if layers else NoTriangles()
    stored = _stored(recipe, state, single)
    restored, _ = unpack(stored, quant_of(recipe, single))
    score = flat_bpb(recipe, {**state, **even}, text)
    return Forced(
        layers=tuple(layers),
        float_bpb=score,
        rounded_bpb=flat_bpb(recipe, restored, text),
        random_sign_bpb=flat_bpb(recipe, {**state, **signed}, text) if layers else score,
        whole_bytes=len(_stored(recipe, state, whole)) if layers else len(stored),
        triangle_bytes=len(stored),
    )


def sign_symmetric(w_DD: Float[Tensor, "D D"], draw: Generator) -> Float[Tensor, "D D"]:
    """The nearest matrix with W = D W^T D, for random signs D."""
    sign_D = torch.randint(0, 2, (len(w_DD),), generator=draw) * 2.0 - 1.0
    return (w_DD + sign_D[:, None] * w_DD.T * sign_D) / 2


def _stored(recipe: Recipe, state: Mapping[str, Tensor], triangles: NoTriangles | Triangles) -> bytes:
    quant = quant_of(recipe, triangles)
    model = Gpt(recipe.model)
    model.load_state_dict(bank(state, recipe.model))
    treatments = plan({name: tensor.shape for name, tensor in state.items()}, quant)
    # rounding to nearest reads no Hessian; the pipeline asks for one of each matrix all the same
    hessians = {each.name: torch.eye(each.shape[1]) for each in treatments if each.grid is not None}
    return pack(rotate_gptq(model, hessians, quant), quant, {})
