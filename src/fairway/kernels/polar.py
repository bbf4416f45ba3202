"""The polar factor of a matrix, nearly: what Muon steps along (recipes C.1)."""

import torch
from jaxtyping import Float
from torch import Tensor

_POLAR_QUINTIC = (3.4445, -4.7750, 2.0315)
"""a, b, c of x -> ax + bx^3 + cx^5: steep at 0, and near 1 it moves about rather than converges (Keller Jordan)."""
_POLAR_EPS = 1e-7


def orthogonalize(x: Float[Tensor, "*batch O I"], steps: int = 5) -> Float[Tensor, "*batch O I"]:
    """Each matrix with its singular values pushed into about 0.7..1.2 and its singular vectors kept.

    Newton-Schulz in bfloat16 on CUDA, float32 elsewhere; the result has the dtype of ``x``. A zero matrix stays zero.
    """
    y = x.to(torch.bfloat16 if x.is_cuda else torch.float32)
    y = y / (torch.linalg.matrix_norm(y, keepdim=True) + _POLAR_EPS)
    tall = y.shape[-2] > y.shape[-1]
    y = y.mT if tall else y
    shape = y.shape
    y = y.reshape(-1, *shape[-2:])
    a, b, c = _POLAR_QUINTIC
    for _ in range(steps):
        gram = torch.bmm(y, y.mT)
        inner = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        y = torch.baddbmm(y, inner, y, beta=a)
    y = y.view(shape)
    return (y.mT if tall else y).contiguous().to(x.dtype)
