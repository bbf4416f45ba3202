"""Weights of head gates in eight bits, a step a row (GATED_ATTN_QUANT_GATE of #1736 and #1855, recipes D.1).

They are few and were never worth a grid of their own; in halves they cost twice as much. Each layer's are one matrix,
heads by inputs, under the name ``head_gate.<layer>.rows``, whose symbols run to the row's largest.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fairway.errors import GateError, MalformedError
from fairway.quant.grid import encode, row_steps
from fairway.quant.packing import QuantizedModel
from fairway.spec.quant import QuantileGrid

GATE_END = ".rows"
"""How the names of a gate's rows end in an artifact."""
GATE_BITS = 8

_GATE_PARAMETER = "head_gate"


def round_gates(state: Mapping[str, Tensor], quantized: QuantizedModel) -> None:
    """Put the head gates of ``state`` into ``quantized`` on their grid, not in halves; ``GateError`` if it has none."""
    if quantized.kept.pop(_GATE_PARAMETER, None) is None:
        raise GateError("quant.gates of kind int8 rounds head gates, of which the model has none")
    for layer, gate_HI in enumerate(state[_GATE_PARAMETER].float()):
        name, step_H = f"{_GATE_PARAMETER}.{layer}{GATE_END}", row_steps(gate_HI, QuantileGrid(bits=GATE_BITS))
        quantized.symbols[name], quantized.steps[name] = encode(gate_HI, step_H, GATE_BITS), step_H


def restore_gates(state: dict[str, Tensor], gates: Sequence[Float[Tensor, "H I"]]) -> None:
    """Put what an artifact holds of the gates, layer by layer, into ``state``; ``ArtifactError`` if none is there."""
    if len({gate.shape for gate in gates}) != 1:
        raise MalformedError("artifact must hold head gates, as the recipe says, alike for all layers")
    state[_GATE_PARAMETER] = torch.stack(list(gates))
