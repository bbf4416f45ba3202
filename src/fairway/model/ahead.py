"""The token after the next, learned by a head that training alone has (#212)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from fairway.kernels.softcap_ce import softcap_ce
from fairway.spec.data import BOS
from fairway.spec.model import ModelSpec

AHEAD_HEAD = "ahead_embedding"
"""Name of the head's parameter."""


def add_ahead_head(model: nn.Module, spec: ModelSpec) -> None:
    """Give a model that head, at zero."""
    model.register_parameter(AHEAD_HEAD, nn.Parameter(torch.zeros(spec.vocab_size, spec.width)))


def drop_ahead_head(model: nn.Module) -> None:
    """Take the head away again: no checkpoint holds it."""
    model.register_parameter(AHEAD_HEAD, None)


def ahead_loss(
    hidden_BTD: Float[Tensor, "B T D"],
    head_VD: Float[Tensor, "V D"],
    inputs_BT: Int[Tensor, "B T"],
    targets_BT: Int[Tensor, "B T"],
    cap: float,
) -> Float[Tensor, ""]:
    """Mean nats of the tokens after the next, over positions whose next token is of the same document."""
    raw_logits = F.linear(hidden_BTD[:, :-1].flatten(0, 1), head_VD.to(hidden_BTD.dtype)).float()
    nats = softcap_ce(raw_logits, targets_BT[:, 1:].flatten(), cap)
    counted = (inputs_BT[:, 1:] != BOS).flatten().to(nats.dtype)
    return (nats * counted).sum() / counted.sum().clamp_min(1.0)
