"""The polar factor of a matrix, nearly: what Muon steps along (recipes C.1)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

POLAR_QUINTIC = (3.4445, -4.7750, 2.0315)
"""a, b, c of x -> ax + bx^3 + cx^5: steep at 0, and near 1 it moves about rather than converges (Keller Jordan)."""
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
    (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
)
"""One polynomial a step, each the best for the interval that the one before leaves (arXiv 2505.16932, #1344, #1787)."""
POLAR_EPS = 1e-7
"""Added to the norm of a matrix before it divides."""


def orthogonalize(
    x: Float[Tensor, "*batch O I"], polynomials: Sequence[tuple[float, float, float]]
) -> Float[Tensor, "*batch O I"]:
    """Each matrix with its singular values pushed into about 0.7..1.2 and its singular vectors kept.

    Newton-Schulz, a step a polynomial, in bfloat16 on CUDA, float32 elsewhere; the result has the dtype of ``x``.
    A zero matrix stays zero.
    """
    y = x.to(torch.bfloat16 if x.is_cuda else torch.float32)
    y = y / (torch.linalg.matrix_norm(y, keepdim=True) + POLAR_EPS)
    tall = y.shape[-2] > y.shape[-1]
    y = y.mT if tall else y
    shape = y.shape
    y = y.reshape(-1, *shape[-2:])
    for a, b, c in polynomials:
        gram = torch.bmm(y, y.mT)
        inner = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        y = torch.baddbmm(y, inner, y, beta=a)
    y = y.view(shape)
    return (y.mT if tall else y).contiguous().to(x.dtype)
