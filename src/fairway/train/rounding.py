"""Matrices rounded in the forward of training, so that they learn to bear it (recipes C.6)."""

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from fairway.model.gpt import Gpt
from fairway.spec.roles import BANK
from fairway.spec.train import LateRounding


def rounded_rows(w: Float[Tensor, "*M O I"], spec: LateRounding) -> Float[Tensor, "*M O I"]:
    """Each row on its grid of ``2**bits`` levels, whose step is the row's largest magnitude over the largest level.

    The gradient is that of the identity (straight-through).
    """
    top = 2 ** (spec.bits - 1) - 1
    values = w.detach()
    step = (values.abs().amax(-1, keepdim=True) / top).clamp_min(max(spec.scale_floor, 1e-12))
    rounded = (values / step).round().clamp(-top - 1, top) * step
    return w + (rounded - values)


class RoundedLoss:
    """The loss of a model whose banks are rounded: a graph of its own, so that no compiler can fix a switch."""

    def __init__(self, model: Gpt, spec: LateRounding) -> None:
        self._inner = _Loss(model)
        self._spec = spec

    def loss(
        self,
        inputs_BT: Int[Tensor, "B T"],
        targets_BT: Int[Tensor, "B T"],
        *,
        looped: bool,
        cu_seqlens: Int[Tensor, " C"] | None,
        max_len: int,
    ) -> Float[Tensor, ""]:
        """Mean nats of the targets, as ``Gpt.loss`` gives them."""
        named = self._inner.named_parameters()
        banks = {name: rounded_rows(bank, self._spec) for name, bank in named if name.endswith(BANK)}
        loss: Tensor = functional_call(self._inner, banks, (inputs_BT, targets_BT, looped, cu_seqlens, max_len))
        return loss


class _Loss(nn.Module):
    """``Gpt.loss`` as a forward, which is what ``functional_call`` calls."""

    def __init__(self, model: Gpt) -> None:
        super().__init__()
        self._model = model

    def forward(
        self,
        inputs_BT: Int[Tensor, "B T"],
        targets_BT: Int[Tensor, "B T"],
        looped: bool,
        cu_seqlens: Int[Tensor, " C"] | None,
        max_len: int,
    ) -> Float[Tensor, ""]:
        return self._model.loss(inputs_BT, targets_BT, looped=looped, cu_seqlens=cu_seqlens, max_len=max_len)
