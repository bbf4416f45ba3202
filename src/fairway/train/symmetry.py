"""How symmetric Q and O are while they are trained (#1214)."""

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def symmetric_shares(bank_NDD: Float[Tensor, "N D D"]) -> list[float]:
    """For each matrix the share of its squares that its symmetric part holds: 1/2 for a random one.

    Of the parameters as they are, not of what a forward makes of them: where symmetry is forced, these tell how fast
    the part that no gradient reaches decays. Zero for a matrix of zeros.
    """
    w_NDD = bank_NDD.float()
    symmetric_NDD = (w_NDD + w_NDD.mT) / 2
    shares_N = symmetric_NDD.square().sum((1, 2)) / w_NDD.square().sum((1, 2)).clamp_min(1e-30)
    return [round(share, 7) for share in shares_N.tolist()]
