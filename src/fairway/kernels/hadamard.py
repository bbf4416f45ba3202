"""Seeded orthogonal matrices whose entries are all about equally large (recipes D.4)."""

import hashlib

import torch
from jaxtyping import Float
from torch import Tensor


def sylvester_hadamard(order: int) -> Float[Tensor, "n n"]:
    """The Hadamard matrix of a power of two, entries +-1, in float64."""
    if order < 1 or order & (order - 1):
        raise ValueError(f"a Sylvester-Hadamard matrix has a power of two rows, got {order}")
    h = torch.ones(1, 1, dtype=torch.float64)
    while h.shape[0] < order:
        h = torch.cat([torch.cat([h, h], dim=1), torch.cat([h, -h], dim=1)])
    return h


def hadamard_rotation(n: int, seed: int, tag: str) -> Float[Tensor, "n n"]:
    """An orthogonal matrix from a seed and a name, float32: random signs times a Hadamard matrix (#1695).

    Where ``n`` is no power of two, the leading block of the next one is orthonormalised by QR, which leaves a
    power of two as it is but for signs. Sums are float64, so the matrix does not hang on the machine.
    """
    order = 1 << (n - 1).bit_length()
    digest = hashlib.sha256(f"{seed}:{tag}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
    signs = torch.randint(0, 2, (order,), generator=generator).double() * 2 - 1
    block = (signs[:, None] * sylvester_hadamard(order) / order**0.5)[:n, :n]
    if order == n:
        return block.float()
    q, r = torch.linalg.qr(block)
    return (q * r.diagonal().sign()).float()
