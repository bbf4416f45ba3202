"""Bits by how much the loss feels each matrix: GradQuant (#1048, recipes D.2).

A matrix is as sensitive as the mean square of its gradient, averaged over calibration batches of training text. Those
who rank highest get a bit more than their role has, those who rank lowest one less.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.data.batches import Batch
from fairway.errors import GateError
from fairway.model.banks import unbank
from fairway.model.gpt import Gpt
from fairway.quant.grid import largest_symbol
from fairway.quant.plan import Treatment
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import GradientBits

BITS_TENSOR = "bits"
"""Among the kept tensors of a quantized model: bits of the others in the plan's order."""

ROW_SENSITIVITY_END = ".row_sensitivity"
"""What row sensitivities are called beside the Hessians."""

_SENSITIVITY_END = ".sensitivity"
_SENSITIVITY_LEAST_BITS, _SENSITIVITY_MOST_BITS = 2, 8


def sensitivities(model: Gpt, batches: Iterable[Batch], count: int, ranks: Ranks, *, looped: bool) -> dict[str, Tensor]:
    """``NAME.sensitivity`` to the mean square of a tensor's gradient, a mean over ``count`` batches of each rank.

    A batch is one of each rank, whose gradients are averaged first; so every rank returns the same. It lies beside the
    Hessians, on the CPU.
    """
    sums: dict[str, Tensor] = {}
    for _, name, gradient in _sensitivity_gradients(model, batches, count, ranks, looped=looped):
        key = f"{name}{_SENSITIVITY_END}"
        square = gradient.double().square().mean().cpu()
        sums[key] = sums[key] + square if key in sums else square
    return {key: total / count for key, total in sums.items()}


def row_sensitivities(
    model: Gpt, batches: Iterable[Batch], count: int, ranks: Ranks, *, looped: bool
) -> dict[str, Float[Tensor, " O"]]:
    """``NAME.row_sensitivity`` of each matrix: for each row half the sum of squares of a token's gradient; float32.

    A batch is one of each rank, as for ``sensitivities``. Tokens' gradients are taken not to go together, so that
    their squares sum to the batch's square, times tokens as its loss is a mean: Fisher's information by the texts' own
    next tokens. With ``x`` as the share of the row's output energy that rounding loses, as many nats times ``x`` is
    what the loss rises by, to the second order.
    """
    sums: dict[str, Tensor] = {}
    for tokens, name, gradient in _sensitivity_gradients(model, batches, count, ranks, looped=looped):
        if gradient.ndim == 2:
            key = f"{name}{ROW_SENSITIVITY_END}"
            square = gradient.double().square().sum(1).cpu() * (tokens * ranks.world / 2)
            sums[key] = sums[key] + square if key in sums else square
    return {key: (total / count).float() for key, total in sums.items()}


def _sensitivity_gradients(
    model: Gpt, batches: Iterable[Batch], count: int, ranks: Ranks, *, looped: bool
) -> Iterator[tuple[int, str, Tensor]]:
    """Of each batch, each tensor's name and its gradient, a mean over ranks, and the tokens of one rank."""
    parameters = dict(model.named_parameters())
    stream = iter(batches)
    for _ in range(count):
        here = next(stream).to(ranks.device)  # a loader has no end
        bounds = here.cu_seqlens
        longest = None if bounds is None else int(bounds.diff().max())
        loss = model.loss(here.inputs_BT, here.targets_BT, looped=looped, cu_seqlens=bounds, max_len=longest)
        own = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        found = [gradient.contiguous() for gradient in own]
        ranks.mean_(found)
        for name, gradient in unbank(dict(zip(parameters, found, strict=True)), model.spec).items():
            yield here.targets_BT.numel(), name, gradient


def sensitive_bits(
    treatments: Sequence[Treatment], bits: GradientBits, measured: Mapping[str, Tensor]
) -> list[Treatment]:
    """The plan with one bit more or less where sensitivity says so; of equals the plan's first rank highest.

    ``GateError`` for a matrix whose sensitivity is not among ``measured``.
    """
    ranked = [t for t in treatments if t.grid is not None]
    for treatment in ranked:
        if f"{treatment.name}{_SENSITIVITY_END}" not in measured:
            raise GateError(f"sensitivity of {treatment.name} is missing; calibrate this checkpoint again")
    ranked.sort(key=lambda t: -float(measured[f"{t.name}{_SENSITIVITY_END}"]))
    change = {
        t.name: (place / len(ranked) < bits.more) - (place / len(ranked) >= 1 - bits.fewer)
        for place, t in enumerate(ranked)
    }
    return with_bits(treatments, [t.bits + change[t.name] for t in treatments if t.grid is not None])


def with_bits(treatments: Sequence[Treatment], bits: Iterable[int]) -> list[Treatment]:
    """The plan with other bits for what is not kept, at least 2 and at most 8; a least step keeps its clip."""
    found, rest = [], iter(bits)
    for treatment in treatments:
        grid = treatment.grid
        if grid is not None and (asked := next(rest)) != grid.bits:
            new = min(max(asked, _SENSITIVITY_LEAST_BITS), _SENSITIVITY_MOST_BITS)
            floor = grid.scale_floor * largest_symbol(grid.bits) / largest_symbol(new)
            treatment = replace(treatment, grid=replace(grid, bits=new, scale_floor=floor))
        found.append(treatment)
    return found


def bits_tensor(treatments: Sequence[Treatment]) -> Tensor:
    """Bits of each tensor that is not kept, to go with a quantized model."""
    return torch.tensor([treatment.bits for treatment in treatments if treatment.grid is not None], dtype=torch.int8)
