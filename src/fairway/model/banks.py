"""Banks to single matrices and back, for everything that speaks of one matrix at a time."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fairway.spec.roles import BANK_NAMES, matrix_name, split_matrix_name

_BANK_PARTS = {"qo_bank": ("q", "o"), "kv_bank": ("k", "v"), "up_bank": ("up",), "down_bank": ("down",)}
"""Parts of each bank, one after another, each over all layers."""


def unbank(state: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The same weights with ``blocks.<layer>.<part>`` for each matrix; all other names stay. Slices are views."""
    matrices: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name not in BANK_NAMES:
            matrices[name] = tensor
            continue
        parts = _BANK_PARTS[name]
        if tensor.shape[0] != layers * len(parts):
            raise ValueError(f"{name} must hold {layers * len(parts)} matrices, got {tensor.shape[0]}")
        for i, matrix in enumerate(tensor.unbind()):
            matrices[matrix_name(i % layers, parts[i // layers])] = matrix
    return matrices


def bank(matrices: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """The inverse of ``unbank``: a state dict that ``Gpt`` loads; ``ValueError`` names a matrix that is missing."""
    state: dict[str, Tensor] = {}
    banked = [matrix_name(i, part) for parts in _BANK_PARTS.values() for part in parts for i in range(layers)]
    missing = [name for name in banked if name not in matrices]
    if missing:
        raise ValueError(f"matrices missing for {layers} layers: {', '.join(missing)}")
    for name, tensor in matrices.items():
        if name not in banked:
            if name.startswith("blocks."):
                layer, _ = split_matrix_name(name)
                raise ValueError(f"{name} is of layer {layer}, but there are {layers} layers")
            state[name] = tensor
    for name, parts in _BANK_PARTS.items():
        state[name] = torch.stack([matrices[matrix_name(i, part)] for part in parts for i in range(layers)])
    return state
