"""AdamW for the token embedding and for everything that is no matrix: torch's own, with our two groups."""

from typing import cast

import torch

from fairway.optim.groups import ParameterGroups
from fairway.spec.optim import AdamSpec


class Adam:
    """Decoupled weight decay (arXiv 1711.05101); rate and decay differ for embedding and control parameters."""

    def __init__(self, groups: ParameterGroups, spec: AdamSpec) -> None:
        self._base_rates = (spec.embed_lr, spec.scalar_lr)
        self._optimizer = torch.optim.AdamW(
            [
                {"params": list(groups.embedding.values()), "weight_decay": spec.embed_weight_decay},
                {"params": list(groups.control.values()), "weight_decay": spec.scalar_weight_decay},
            ],
            betas=(spec.beta1, spec.beta2),
            eps=spec.eps,
            fused=True,
        )

    def step(self, *, lr_scale: float) -> None:
        """Move by the gradients that the parameters hold."""
        for group, rate in zip(self._optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * lr_scale
        self._optimizer.step()

    def reset(self) -> None:
        """Forget moments and step count, as if no step had been made."""
        self._optimizer.state.clear()

    def state_tensors(self) -> list[torch.Tensor]:
        """Moments and counts; empty before the first step and after ``reset``."""
        return [cast(torch.Tensor, value) for state in self._optimizer.state.values() for value in state.values()]
