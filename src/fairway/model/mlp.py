"""Up, leaky square, down."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from fairway.kernels.leaky_square import leaky_square
from fairway.model.hooks import Hooks, Site


def mlp_output(
    x: Float[Tensor, "*T D"],
    up_FD: Float[Tensor, "F D"],
    down_DF: Float[Tensor, "D F"],
    *,
    slope: float,
    slot: int,
    layer: int,
    hooks: Hooks,
) -> Float[Tensor, "*T D"]:
    """What the MLP of one layer adds, before ``mlp_scale``."""
    hooks.observe(Site(slot, layer, "mlp_in"), x)
    h = leaky_square(F.linear(hooks.rotate("mlp_in", x), up_FD), slope)
    hooks.observe(Site(slot, layer, "mlp_proj_in"), h)
    y = F.linear(hooks.rotate("mlp_proj_in", h), down_DF)
    return hooks.adapt(Site(slot, layer, "mlp"), x, y)
