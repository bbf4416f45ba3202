"""Means of snapshots of the weights, in float32: SWA and LAWA (recipes C.5, where bfloat16 sums cost everything)."""

from collections import deque
from collections.abc import Mapping

import torch
from torch import Tensor

from fairway.spec.optim import LawaAverage, SwaAverage


class Snapshots:
    """Takes snapshots when they are due; ``load_into_weights`` replaces the weights by their mean.

    Without any snapshot that is the weights themselves.
    """

    def __init__(self, parameters: Mapping[str, Tensor], spec: SwaAverage | LawaAverage) -> None:
        self.taken = 0
        """Snapshots that the mean is of."""
        self._spec = spec
        self._due = False
        self._weights = [parameter.detach() for parameter in parameters.values()]
        self._sums: list[Tensor] = []
        self._latest: deque[list[Tensor]] = deque()

    def look(self, steps: int, lr_scale: float) -> None:
        """Decide whether the next update is due: after ``steps`` steps, the last of them at this multiplier."""
        low = not isinstance(self._spec, SwaAverage) or lr_scale < self._spec.below_scale
        self._due = low and steps % self._spec.every == 0

    @torch.no_grad()
    def update(self) -> None:
        """Take a snapshot if one is due."""
        if not self._due:
            return
        now = [weight.to(torch.float32, copy=True) for weight in self._weights]
        self.taken += 1
        if isinstance(self._spec, LawaAverage):
            self._latest.append(now)
            if self.taken > self._spec.keep:
                self._latest.popleft()
                self.taken -= 1
        elif self._sums:
            torch._foreach_add_(self._sums, now)
        else:
            self._sums = now

    @torch.no_grad()
    def load_into_weights(self) -> None:
        """Replace the weights by the mean."""
        if not self.taken:
            return
        if isinstance(self._spec, LawaAverage):
            self._sums = [torch.stack(parts).sum(0) for parts in zip(*self._latest, strict=True)]
        torch._foreach_copy_(self._weights, torch._foreach_div(self._sums, float(self.taken)))
