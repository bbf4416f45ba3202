"""Layers that stop learning before the others do (#1048)."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fairway.data.batches import Batch
from fairway.model.gpt import Gpt
from fairway.model.weights import LayerWeights
from fairway.runtime.ranks import Ranks
from fairway.spec.optim import OptimSpec
from fairway.spec.roles import BANK
from fairway.train.step import LossFn, Stepper


class FrozenGpt(Gpt):
    """The same parameters in the same forward, but those of the first half of the layers get no gradient."""

    def __init__(self, model: Gpt) -> None:
        nn.Module.__init__(self)
        self.spec, self.dtype = model.spec, model.dtype
        if model.spec.attention != "sdpa":
            self.attention = model.attention
        self.place_region = model.place_region
        self.one_lane_region, self.two_lanes_region = model.one_lane_region, model.two_lanes_region
        for name, parameter in model.named_parameters():
            self.register_parameter(name, parameter)

    def each_layer(self, named: Mapping[str, Tensor]) -> list[LayerWeights]:
        """What each layer multiplies with; the first ones are cut off from their parameters."""
        still = super().each_layer({name: parameter.detach() for name, parameter in named.items()})
        count = frozen_layers(self)
        return [*still[:count], *super().each_layer(named)[count:]]


class FreezingStepper(Stepper):
    """Steps that from some point on leave the first half of the layers where it is.

    Momentum and decay would move them on without a gradient, so what a step does to them is undone: in the original
    too, weights would have shrunk to zero otherwise.
    """

    def __init__(self, model: Gpt, spec: OptimSpec, ranks: Ranks) -> None:
        super().__init__(model, spec, ranks)
        count, layers = frozen_layers(model), model.spec.layers
        self._rows: list[Tensor] = []
        for name, parameter in model.named_parameters():
            if name in LayerWeights._fields or name.endswith(BANK):
                # A bank may hold two matrices of each layer, those of one kind before those of the other.
                self._rows += [parameter.detach()[at : at + count] for at in range(0, len(parameter), layers)]
        self._values: list[Tensor] = []

    def freeze(self) -> None:
        """Keep the first layers as they are now."""
        self._values = [rows.clone() for rows in self._rows]

    def step(
        self, loss_fn: LossFn, micro_batches: Sequence[Batch], *, lr_scale: float, momentum_step: int
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Move once, as ``Stepper.step`` does, but for what is frozen."""
        done = super().step(loss_fn, micro_batches, lr_scale=lr_scale, momentum_step=momentum_step)
        if self._values:
            torch._foreach_copy_(self._rows, self._values)
        return done


def frozen_layers(model: Gpt) -> int:
    """How many layers, from the first, stop learning: as many as the encoder has."""
    return model.spec.layers // 2
