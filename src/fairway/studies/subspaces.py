"""Shares of a square matrix's energy in linear subspaces, and what a Gaussian matrix has there.

A Gaussian matrix of n x n entries has, in a subspace of d dimensions, a share of its energy that is distributed as
Beta(d/2, (n^2 - d)/2): mean d/n^2. Symmetric, antisymmetric, traceless, block-diagonal, banded and circulant matrices
are such subspaces, so their null model is known exactly; no share says anything without its dimension.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from fairway.studies.chance import haar

KINDS = ("symmetric", "antisymmetric", "traceless_symmetric", "trace", "block", "band", "circulant")


@dataclass(frozen=True, slots=True)
class Chance:
    """Mean and standard deviation of a share under the null model."""

    mean: float
    deviation: float


def squares(w_OI: Float[Tensor, "O I"]) -> Float[Tensor, "N S S"]:
    """A matrix as square pieces side by side (#1214 so looks at K and V); ``ValueError`` if sides do not divide."""
    outputs, inputs = w_OI.shape
    side = min(outputs, inputs)
    if max(outputs, inputs) % side:
        raise ValueError(f"sides must divide each other, got {outputs} x {inputs}")
    return torch.cat([each.unfold(1, side, side).movedim(1, 0) for each in w_OI.split(side)])


def shares(w_NSS: Float[Tensor, "N S S"], *, block: int, band: int) -> dict[str, float]:
    """Share of all squares by kind; blocks of ``block`` on the diagonal, a band of ``band`` places beside it."""
    w_NSS = w_NSS.double()
    side = w_NSS.shape[-1]
    whole = float(w_NSS.square().sum())
    symmetric = float(((w_NSS + w_NSS.mT) / 2).square().sum())
    trace = float(w_NSS.diagonal(dim1=1, dim2=2).sum(1).square().sum()) / side
    places = torch.arange(side)
    blocks_SS = places[:, None] // block == places // block
    band_SS = (places[:, None] - places).abs() <= band
    # row i turned left by i: the circulant's diagonals become columns
    turned_NSS = w_NSS[:, places[:, None], (places[:, None] + places) % side]
    found = {
        "symmetric": symmetric,
        "antisymmetric": whole - symmetric,
        "traceless_symmetric": symmetric - trace,
        "trace": trace,
        "block": float((w_NSS * blocks_SS).square().sum()),
        "band": float((w_NSS * band_SS).square().sum()),
        "circulant": float(turned_NSS.mean(1).square().sum()) * side,
    }
    return {kind: energy / whole for kind, energy in found.items()}


def by_chance(side: int, pieces: int, *, block: int, band: int) -> Mapping[str, Chance]:
    """The same of Gaussian matrices, exactly."""
    places = torch.arange(side)
    dimensions = {
        "symmetric": side * (side + 1) // 2,
        "antisymmetric": side * (side - 1) // 2,
        "traceless_symmetric": side * (side + 1) // 2 - 1,
        "trace": 1,
        "block": int((places[:, None] // block == places // block).sum()),
        "band": int(((places[:, None] - places).abs() <= band).sum()),
        "circulant": side,
    }
    return {kind: _beta(pieces * d, pieces * side * side) for kind, d in dimensions.items()}


def _beta(dimension: int, whole: int) -> Chance:
    rest = whole - dimension
    return Chance(dimension / whole, math.sqrt(2 * dimension * rest / (whole + 2)) / whole)


def product_symmetry(product_DD: Float[Tensor, "D D"]) -> float:
    """Share of the symmetric part of a bilinear form, such as Q^T K of one head, which no choice of basis moves."""
    product_DD = product_DD.double()
    return float(((product_DD + product_DD.T) / 2).square().sum() / product_DD.square().sum())


def product_symmetry_by_chance(values_R: Float[Tensor, " R"], width: int, draw: Generator) -> float:
    """The same of a form of ``width`` dimensions with these singular values; its mean is (1 + 1/width) / 2."""
    rank = len(values_R)
    common_RR = haar(width, rank, draw).T.double() @ haar(width, rank, draw).double()
    crossed = float((torch.outer(values_R, values_R) * common_RR * common_RR.T).sum())
    return 0.5 + crossed / (2 * float(values_R.square().sum()))
