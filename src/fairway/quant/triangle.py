"""Q and O of some layers made symmetric after training, and stored as one triangle each (#1214, recipes D.5).

(W + W^T) / 2 has D (D + 1) / 2 entries of its own instead of D^2. Written row by row from the diagonal on they make a
matrix of one row, which has one step and lies in its role's stream like any other; a codec that is shown the whole
matrix does not find the repetition, for a triangle's columns are the other one's rows, hundreds of symbols apart.
One step, because steps of rows would make q_ij s_i differ from q_ji s_j; and each entry to the nearest symbol, because
GPTQ rounds the two triangles differently.
"""

from collections.abc import Iterable
from math import isqrt

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.errors import ArtifactError
from fairway.model.weights import symmetric
from fairway.spec.quant import Triangles
from fairway.spec.roles import matrix_name


def triangle_names(triangles: Triangles) -> list[str]:
    """Names of the matrices that are made symmetric."""
    return [matrix_name(layer, part) for part in ("q", "o") for layer in triangles.layers]


def triangle(w_DD: Float[Tensor, "D D"]) -> Float[Tensor, "1 N"]:
    """Upper triangle of the symmetric part, row by row from the diagonal on."""
    rows, columns = torch.triu_indices(*w_DD.shape)
    return symmetric(w_DD)[rows, columns][None]


def square(triangle_1N: Float[Tensor, "1 N"]) -> Float[Tensor, "D D"]:
    """The symmetric matrix of a triangle; ``ArtifactError`` if so many entries make none."""
    entries = triangle_1N.numel()
    width = (isqrt(8 * entries + 1) - 1) // 2
    if width * (width + 1) // 2 != entries:
        raise ArtifactError(f"a triangle must have 1, 3, 6, 10, ... entries, got {entries}")
    rows, columns = torch.triu_indices(width, width)
    w_DD = torch.empty(width, width, dtype=triangle_1N.dtype)
    w_DD[rows, columns] = w_DD[columns, rows] = triangle_1N[0]
    return w_DD


def make_symmetric(state: dict[str, Tensor], names: Iterable[str]) -> None:
    """Replace matrices by their symmetric parts."""
    for name in names:
        state[name] = symmetric(state[name].float())
