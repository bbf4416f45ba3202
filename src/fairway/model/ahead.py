"""The token after the next, learned through a map that training alone has (#212, finding 14)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from fairway.kernels.softcap_ce import softcap_ce
from fairway.spec.data import BOS
from fairway.spec.model import ModelSpec

AHEAD_MAP = "ahead_weight"
"""Name of the map's parameter, (D, D)."""


def add_ahead_map(model: nn.Module, spec: ModelSpec) -> None:
    """Give a model that map, at zero."""
    model.register_parameter(AHEAD_MAP, nn.Parameter(torch.zeros(spec.width, spec.width)))


def drop_ahead_map(model: nn.Module) -> None:
    """Take the map away again: no checkpoint holds it."""
    model.register_parameter(AHEAD_MAP, None)


def ahead_loss(
    hidden_BTD: Float[Tensor, "B T D"],
    map_DD: Float[Tensor, "D D"],
    head_VD: Float[Tensor, "V D"],
    inputs_BT: Int[Tensor, "B T"],
    targets_BT: Int[Tensor, "B T"],
    cap: float,
) -> Float[Tensor, ""]:
    """Mean nats of the tokens after the next, over positions whose next token is of the same document."""
    dtype = hidden_BTD.dtype
    mapped = F.linear(hidden_BTD[:, :-1].flatten(0, 1), map_DD.to(dtype))
    raw_logits = F.linear(mapped, head_VD.to(dtype)).float()
    nats = softcap_ce(raw_logits, targets_BT[:, 1:].flatten(), cap)
    counted = (inputs_BT[:, 1:] != BOS).flatten().to(nats.dtype)
    return (nats * counted).sum() / counted.sum().clamp_min(1.0)
