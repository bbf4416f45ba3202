"""Two rounded models as one, for an artifact that holds the average and the weights of the last step (#1048)."""

import torch

from fairway.model.members import with_raw
from fairway.quant.packing import QuantizedModel
from fairway.quant.plan import plan
from fairway.quant.sensitivity import BITS_TENSOR
from fairway.spec.quant import GradientBits, QuantSpec
from fairway.spec.roles import RAW


def joined(average: QuantizedModel, raw: QuantizedModel, quant: QuantSpec) -> QuantizedModel:
    """Both, each rounded by itself; bits that differ from matrix to matrix stand in the order of the plan for both."""
    kept = with_raw(average.kept, raw.kept)
    both = QuantizedModel(with_raw(average.symbols, raw.symbols), with_raw(average.steps, raw.steps), kept)
    if isinstance(quant.mixing, GradientBits):
        del kept[f"{RAW}{BITS_TENSOR}"]
        bits = with_raw(_members_bits(average, quant), _members_bits(raw, quant))
        kept[BITS_TENSOR] = torch.tensor([bits[name] for name in _members_rounded(both, quant)], dtype=torch.int8)
    return both


def _members_bits(model: QuantizedModel, quant: QuantSpec) -> dict[str, int]:
    return dict(zip(_members_rounded(model, quant), model.kept[BITS_TENSOR].tolist(), strict=True))


def _members_rounded(model: QuantizedModel, quant: QuantSpec) -> list[str]:
    """Names of the matrices that have a grid, in the plan's order."""
    named = {name: tensor.shape for name, tensor in {**model.symbols, **model.kept}.items() if name != BITS_TENSOR}
    return [treatment.name for treatment in plan(named, quant) if treatment.grid is not None]
