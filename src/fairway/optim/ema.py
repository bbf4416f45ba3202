"""Running average of the weights, in float32, from the first step on."""

from collections.abc import Mapping

import torch
from torch import Tensor


class Ema:
    """average = decay * average + (1 - decay) * weight after each step.

    It begins at the initial weights and is not corrected for that, as in the published stack (recipes B.3).
    With ``decay`` 0 it is the weights themselves.
    """

    def __init__(self, parameters: Mapping[str, Tensor], decay: float) -> None:
        assert 0.0 <= decay < 1.0, decay
        self.decay = decay
        self._names = list(parameters)
        self._weights = [parameter.detach() for parameter in parameters.values()]
        self._averages = [weight.to(torch.float32, copy=True) for weight in self._weights]

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are now."""
        torch._foreach_lerp_(self._averages, [weight.float() for weight in self._weights], 1.0 - self.decay)

    @torch.no_grad()
    def load_into_weights(self) -> None:
        """Replace the weights by their averages."""
        torch._foreach_copy_(self._weights, self._averages)

    def averages(self) -> dict[str, Tensor]:
        """Averages by parameter name; not copies."""
        return dict(zip(self._names, self._averages, strict=True))
