"""How symmetric Q and O are while they are trained (#1214)."""

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.model.weights import symmetric_share


@torch.no_grad()
def symmetric_shares(bank_NDD: Float[Tensor, "N D D"]) -> list[float]:
    """``symmetric_share`` of each matrix, to seven digits.

    Of the parameters as they are, not of what a forward makes of them: where symmetry is forced, these tell how fast
    the part that no gradient reaches decays.
    """
    return [round(share, 7) for share in symmetric_share(bank_NDD.float()).tolist()]
