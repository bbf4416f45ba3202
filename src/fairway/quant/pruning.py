"""Symbols of plus and minus one set to zero, the smallest steps first, until the file fits (#1019, recipes D.5).

Zeroing such a symbol changes its weight by one step. The record searches for the least number of them by packing anew
for each guess, which takes minutes, and never came to it: its target counts mebibytes and lies above the limit.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from fairway.quant.packing import QuantizedModel
from fairway.quant.pipeline import pack
from fairway.runtime.events import EventLog
from fairway.spec.quant import PrunedOnes, QuantSpec
from fairway.spec.roles import MATRIX_ROLES, role_of

PRUNING_UNITS = {"MB": 1_000_000, "MiB": 1 << 20}


def pruned_to_fit(
    quantized: QuantizedModel,
    quant: QuantSpec,
    pruning: PrunedOnes,
    extra: Mapping[str, Any],
    events: EventLog | None = None,
) -> QuantizedModel:
    """The model with as few ones zeroed as let artifact and code fit; all of them, if that is not enough.

    The argument stays as it is. ``extra`` is what the artifact will carry.
    """
    limit = int(pruning.target * PRUNING_UNITS[pruning.unit])
    prune, most = ones_pruner(quantized)

    def size(count: int) -> int:
        return len(pack(prune(count), quant, extra)) + pruning.code_bytes

    count = fewest(size, most, limit)
    if events is not None:
        events.emit("pruned", ones=most, zeroed=count, limit_bytes=limit)
    return prune(count)


def ones_pruner(quantized: QuantizedModel) -> tuple[Callable[[int], QuantizedModel], int]:
    """A function from a number to the model with so many ones zeroed, and how many ones there are.

    Ones of blocks' matrices count, ordered by their steps; equal ones by the matrix, then by their place.
    """
    places: dict[str, Tensor] = {}
    steps: list[Tensor] = []
    for name, symbols in quantized.symbols.items():
        if role_of(name) in MATRIX_ROLES:
            places[name] = (symbols.flatten().abs() == 1).nonzero()[:, 0]
            steps.append(quantized.steps[name].float()[places[name] // symbols.shape[1]])
    order_N = torch.cat(steps).argsort(stable=True)

    def prune(count: int) -> QuantizedModel:
        chosen_N = torch.zeros(len(order_N), dtype=torch.bool)
        chosen_N[order_N[:count]] = True
        symbols = dict(quantized.symbols)
        for (name, found), chosen in zip(
            places.items(), chosen_N.split([len(each) for each in places.values()]), strict=True
        ):
            flat_N = symbols[name].reshape(-1).clone()
            flat_N[found[chosen]] = 0
            symbols[name] = flat_N.view(symbols[name].shape)
        return QuantizedModel(symbols, quantized.steps, quantized.kept)

    return prune, len(order_N)


def fewest(size: Callable[[int], int], most: int, limit: int) -> int:
    """The least count up to ``most`` whose size is within ``limit``, if sizes fall with counts; ``most`` if none is."""
    if size(0) <= limit:
        return 0
    below, fits = 0, most
    while fits - below > 1:
        middle = (below + fits) // 2
        if size(middle) <= limit:
            fits = middle
        else:
            below = middle
    return fits
