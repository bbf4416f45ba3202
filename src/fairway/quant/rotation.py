"""Four global Hadamard rotations at the inputs of the linears (#1695, recipes D.4).

For orthogonal R, (x R)(W R)^T = x W^T: the rotated model computes the same, but the columns of W R are sums of
all columns of W and so have no outliers. Weights are baked (W R) before they are rounded. Two routes lead back:
``unbake`` folds R^T into the rounded weights at load and costs nothing afterwards; ``online_hooks`` and ``OnlineGpt``
rotate the activations instead, as the record does, and are the slow twin that the first is tested against. The
embedding is not rotated.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from fairway.errors import MalformedError
from fairway.kernels.hadamard import hadamard_rotation
from fairway.model.banks import bank
from fairway.model.gpt import Gpt
from fairway.model.hooks import PLAIN, Hooks
from fairway.quant.plan import input_part
from fairway.spec.model import ModelSpec
from fairway.spec.quant import Hadamard, NoRotation


def rotations(shapes: Mapping[str, Sequence[int]], rotation: NoRotation | Hadamard) -> dict[str, Float[Tensor, "I I"]]:
    """The rotation of each linear input that some matrix reads, by the input's name; none for ``NoRotation``.

    ``shapes`` is keyed by tensor name outside banks.
    """
    if isinstance(rotation, NoRotation):
        return {}
    widths = {part: shape[1] for name, shape in shapes.items() if (part := input_part(name)) is not None}
    return {part: hadamard_rotation(width, rotation.seed, part) for part, width in sorted(widths.items())}


def bake(w_OI: Float[Tensor, "O I"], r_II: Float[Tensor, "I I"]) -> Float[Tensor, "O I"]:
    """W R: the weight that reads rotated inputs."""
    return w_OI @ r_II


def unbake(w_OI: Float[Tensor, "O I"], r_II: Float[Tensor, "I I"]) -> Float[Tensor, "O I"]:
    """W R^T: the weight that reads plain inputs again."""
    return w_OI @ r_II.T


def bake_hessian(h_II: Float[Tensor, "I I"], r_II: Float[Tensor, "I I"]) -> Float[Tensor, "I I"]:
    """R^T H R, the second moment of rotated inputs, symmetric to the last bit; the trace is that of H."""
    rotated_II = r_II.T @ h_II @ r_II
    return (rotated_II + rotated_II.T) / 2


def online_hooks(turns: Mapping[str, Float[Tensor, "I I"]]) -> Hooks:
    """Hooks under which a model with baked weights computes what the plain model does."""

    def rotate(part: str, x: Tensor) -> Tensor:
        r_II = turns.get(part)
        return x if r_II is None else x @ r_II.to(x)

    return Hooks(rotate=rotate)


class OnlineGpt(Gpt):
    """A model with baked weights that rotates what its linears read; adapters see what was there before."""

    def __init__(self, spec: ModelSpec, turns: Mapping[str, Float[Tensor, "I I"]], dtype: torch.dtype) -> None:
        super().__init__(spec, dtype=dtype)
        self._parts = tuple(turns)
        for part, r_II in turns.items():
            self.register_buffer(f"{part}_turn", r_II.to(dtype), persistent=False)

    def hidden(
        self,
        tokens_BT: Int[Tensor, "B T"],
        *,
        looped: bool,
        cu_seqlens: Int[Tensor, " C"] | None = None,
        max_len: int | None = None,
        hooks: Hooks = PLAIN,
    ) -> Float[Tensor, "B T D"]:
        """Final-normed hidden states; ``hooks`` as for any model, but for rotation, which is this model's own."""
        turns = {part: self.get_buffer(f"{part}_turn") for part in self._parts}
        turned = replace(hooks, rotate=online_hooks(turns).rotate)
        return super().hidden(tokens_BT, looped=looped, cu_seqlens=cu_seqlens, max_len=max_len, hooks=turned)


def online_model(
    spec: ModelSpec, baked: Mapping[str, Tensor], rotation: Mapping[str, Any] | None, dtype: torch.dtype
) -> OnlineGpt:
    """The model of baked weights by names outside banks, as an artifact and its header's rotation give them.

    ``ArtifactError`` if they are not rotated.
    """
    if rotation is None:
        raise MalformedError("artifact must have rotated weights, as the recipe says")
    shapes = {name: w.shape for name, w in baked.items()}
    model = OnlineGpt(spec, rotations(shapes, Hadamard(seed=rotation["seed"])), dtype)
    model.load_state_dict(bank(baked, spec))
    return model
