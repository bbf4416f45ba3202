"""How well a rotation lays one matrix onto another, and how well it would for matrices that share nothing.

R = argmin |A R - B|_F over orthogonal R is U V^T of the singular value decomposition A^T B = U S V^T (Schoenemann
1966), and |A R - B|^2 = |A|^2 + |B|^2 - 2 sum(S): of a rotation's success the nuclear norm of A^T B tells all. The
reduction is 1 - |A R - B|^2 / |A - B|^2, as PR #1048 has it. A rotation from the left needs the norm of A B^T.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Generator, Tensor

from fairway.studies.chance import haar


@dataclass(frozen=True, slots=True)
class Factors:
    """A matrix and its singular value decomposition, so that each of many pairs costs a small product."""

    w_OI: Float[Tensor, "O I"]
    left_OK: Float[Tensor, "O K"]
    values_K: Float[Tensor, " K"]
    right_IK: Float[Tensor, "I K"]

    @property
    def energy(self) -> float:
        """The squared Frobenius norm."""
        return float(self.values_K.square().sum())


@dataclass(frozen=True, slots=True)
class Alignment:
    """Shares of the squared distance that vanish by a rotation of the inputs (right) and of the outputs (left)."""

    right: float
    left: float
    cosine: float
    """Of the matrices as they are."""


def factors(w_OI: Float[Tensor, "O I"]) -> Factors:
    """The thin decomposition."""
    left, values, right = torch.linalg.svd(w_OI.float(), full_matrices=False)
    return Factors(w_OI.float(), left, values, right.T)


def align(a: Factors, b: Factors) -> Alignment:
    """The best rotations of ``a`` onto ``b``."""
    return _alignment(a, b, a.left_OK.T @ b.left_OK, a.right_IK.T @ b.right_IK)


def align_by_chance(a: Factors, b: Factors, draw: Generator) -> Alignment:
    """The same of two matrices that have the singular values of these, and singular vectors drawn evenly."""
    outputs, inputs = a.w_OI.shape
    rank = len(a.values_K)
    return _alignment(a, b, haar(outputs, rank, draw)[:rank], haar(inputs, rank, draw)[:rank])


def _alignment(a: Factors, b: Factors, left_KK: Tensor, right_KK: Tensor) -> Alignment:
    """From what the singular vectors have in common."""
    inner = float((_weighed(a, left_KK, b) * right_KK).sum())
    energies = a.energy + b.energy
    right, left = (
        reduction(energies, inner, float(torch.linalg.svdvals(_weighed(a, common, b)).sum()))
        for common in (left_KK, right_KK)
    )
    return Alignment(right, left, inner / (a.energy * b.energy) ** 0.5)


def _weighed(a: Factors, common_KK: Tensor, b: Factors) -> Tensor:
    return a.values_K[:, None] * common_KK * b.values_K


def reduction(energies: float, inner: float, aligned_inner: float) -> float:
    """1 - |A' - B|^2 / |A - B|^2 from |A|^2 + |B|^2 and the two inner products."""
    return 1 - (energies - 2 * aligned_inner) / (energies - 2 * inner)


def rotation(a_OI: Float[Tensor, "O I"], b_OI: Float[Tensor, "O I"]) -> Float[Tensor, "I I"]:
    """The rotation of the inputs that lays ``a`` onto ``b``; where they leave it open, LAPACK chooses."""
    u_II, _, vh_II = torch.linalg.svd(a_OI.T @ b_OI)
    return u_II @ vh_II


def permuted(a_OI: Float[Tensor, "O I"], b_OI: Float[Tensor, "O I"]) -> float:
    """The reduction by the best order of the inputs (an assignment problem): a rotation that costs next to nothing."""
    common_II = (a_OI.T @ b_OI).double().numpy()
    rows, columns = linear_sum_assignment(common_II, maximize=True)
    energies = float(a_OI.square().sum() + b_OI.square().sum())
    return reduction(energies, float((a_OI * b_OI).sum()), float(common_II[rows, columns].sum()))


def product_values(a_DR: Tensor, b_DR: Tensor) -> Tensor:
    """Singular values of A B^T, at most R of them, without the product: from the triangles of two QR decompositions."""
    r_a, r_b = (torch.linalg.qr(each.double(), mode="r")[1] for each in (a_DR, b_DR))
    return torch.linalg.svdvals(r_a @ r_b.T)


@dataclass(frozen=True, slots=True)
class LowRank:
    """What the first singular directions of R - I hold of it, and what they are good for."""

    energy: float
    reduction: float


def low_rank(a_OI: Float[Tensor, "O I"], b_OI: Float[Tensor, "O I"], ranks: list[int]) -> list[LowRank]:
    """R as the identity and a product of ``rank`` directions (#1048, finding 2)."""
    turn_II = rotation(a_OI, b_OI)
    eye_II = torch.eye(len(turn_II))
    u_II, s_I, vh_II = torch.linalg.svd(turn_II - eye_II)
    before = float((a_OI - b_OI).square().sum())
    found = []
    for rank in ranks:
        part_II = eye_II + (u_II[:, :rank] * s_I[:rank]) @ vh_II[:rank]
        after = float((a_OI @ part_II - b_OI).square().sum())
        found.append(LowRank(float(s_I[:rank].square().sum() / s_I.square().sum()), 1 - after / before))
    return found
