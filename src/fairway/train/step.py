"""One optimizer step: accumulate, reduce over ranks, clip, move."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fairway.data.batches import Batch
from fairway.optim.adam import Adam
from fairway.optim.groups import split_parameters
from fairway.optim.muon import Muon
from fairway.optim.schedule import momentum_at
from fairway.optim.shares import RoundRobinMuon, ShardedMuon, norm_over_ranks
from fairway.runtime.ranks import Ranks
from fairway.spec.optim import OptimSpec

LossFn = Callable[[Batch], Tensor]
"""Mean loss in nats of one micro-batch on the model's device."""


class Stepper:
    """Muon and AdamW over all parameters of a model, as one optimizer whose ranks all make the same step."""

    def __init__(self, model: nn.Module, spec: OptimSpec, ranks: Ranks) -> None:
        groups = split_parameters(model.named_parameters())
        self.parameters = groups.all()
        self._spec = spec
        self._ranks = ranks
        self._muon: Muon | RoundRobinMuon | ShardedMuon = (
            Muon(groups.matrices, spec.muon)
            if spec.muon.engine == "replicated"
            else RoundRobinMuon(groups.matrices, spec.muon, ranks)
            if spec.muon.engine == "round_robin"
            else ShardedMuon(groups.matrices, spec.muon, ranks)
        )
        self._adam = Adam(groups, spec.adam)
        for parameter in self.parameters.values():
            # Gradients stay allocated: a parameter that this forward leaves out has a zero one on every rank.
            parameter.grad = torch.zeros_like(parameter)
        self._gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        if spec.muon.engine == "sharded":
            whole = {**groups.embedding, **groups.control}
            self._whole = [parameter.grad for parameter in whole.values() if parameter.grad is not None]

    def step(
        self, loss_fn: LossFn, micro_batches: Sequence[Batch], *, lr_scale: float, momentum_step: int
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Move once by the mean gradient over all micro-batches of all ranks.

        Returns this rank's mean loss in nats, and the norm of the reduced gradient before clipping; both stay on
        the device, so that a GPU need not be waited for. Clipping comes after the reduction (recipes C.1 lists
        the stacks that do it before): ranks agree on the norm, and one rank with accumulation gets the same.
        """
        torch._foreach_zero_(self._gradients)
        losses = []
        for batch in micro_batches:
            loss = loss_fn(batch) / len(micro_batches)
            loss.backward()
            losses.append(loss.detach())
        gradients = self._gradients
        if self._spec.muon.engine == "sharded":
            assert isinstance(self._muon, ShardedMuon)
            self._muon.start_reduce()
            self._ranks.mean_(self._whole)
            shared = self._muon.finish_reduce()
            norm = norm_over_ranks(shared, self._whole, self._ranks)
            gradients = [*shared, *self._whole]
        else:
            self._ranks.mean_(gradients)
            norm = torch.nn.utils.get_total_norm(gradients)
        if self._spec.grad_clip > 0.0:
            torch._foreach_mul_(gradients, (self._spec.grad_clip / norm.clamp_min(1e-12)).clamp_max(1.0))
        self._muon.step(lr_scale=lr_scale, momentum=momentum_at(momentum_step, self._spec.muon))
        self._adam.step(lr_scale=lr_scale)
        return torch.stack(losses).sum(), norm

    def reset(self) -> None:
        """Forget moments, momentum and gradients: the next step is the first one."""
        self._muon.reset()
        self._adam.reset()
        torch._foreach_zero_(self._gradients)

    def state_tensors(self) -> list[Tensor]:
        """Everything the optimizers remember."""
        return [*self._muon.state_tensors(), *self._adam.state_tensors()]
