"""Matrices that nobody trained, which every study holds its numbers against."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Generator, Tensor

from fairway.runtime.seeding import generator


def source(name: str) -> Generator:
    """A generator for the null model of that name: the same numbers on every run."""
    return generator(0, f"null {name}")


def gaussian(rows: int, columns: int, draw: Generator) -> Tensor:
    """Independent standard normal entries."""
    return torch.randn(rows, columns, generator=draw)


def haar(size: int, columns: int, draw: Generator) -> Tensor:
    """The first columns of an orthogonal matrix that is distributed evenly (Mezzadri, math-ph/0609050)."""
    q, r = torch.linalg.qr(gaussian(size, columns, draw))
    return q * r.diagonal().sign()


def mean(values: Iterable[float]) -> float:
    """The mean; NaN of nothing."""
    found = list(values)
    return math.fsum(found) / len(found) if found else math.nan


def spread(values: Sequence[float]) -> float:
    """The sample standard deviation; NaN of fewer than two."""
    if len(values) < 2:
        return math.nan
    centre = mean(values)
    return math.sqrt(math.fsum((value - centre) ** 2 for value in values) / (len(values) - 1))
