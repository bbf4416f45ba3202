"""Four global Hadamard rotations at the inputs of the linears (#1695, recipes D.4).

For orthogonal R, (x R)(W R)^T = x W^T: the rotated model computes the same, but the columns of W R are sums of
all columns of W and so have no outliers. Weights are baked (W R) before they are rounded. Two routes lead back:
``unbake`` folds R^T into the rounded weights at load and costs nothing afterwards; ``online_hooks`` rotates the
activations instead and is the slow twin that the first is tested against. The embedding is not rotated.
"""

from collections.abc import Mapping, Sequence

from jaxtyping import Float
from torch import Tensor

from fairway.kernels.hadamard import hadamard_rotation
from fairway.model.hooks import Hooks
from fairway.quant.plan import input_part
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
