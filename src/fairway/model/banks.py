"""Banks to single matrices and back, for everything that speaks of one matrix at a time."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fairway.spec.model import ModelSpec
from fairway.spec.roles import BANK, matrix_name, split_matrix_name


def bank_parts(spec: ModelSpec) -> dict[str, tuple[str, ...]]:
    """Parts of each bank, one after another, each over all layers."""
    parts = {"qo_bank": ("q", "o"), "kv_bank": ("k", "v"), "up_bank": ("up",), "down_bank": ("down",)}
    if spec.q_rank:
        parts |= {"qo_bank": ("o",), "q_in_bank": ("q_in",), "q_out_bank": ("q_out",)}
    return parts


def unbank(state: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """The same weights with ``blocks.<layer>.<part>`` for each matrix; all other names stay. Slices are views."""
    matrices: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not name.endswith(BANK):
            matrices[name] = tensor
            continue
        parts = bank_parts(spec)[name]
        if tensor.shape[0] != spec.layers * len(parts):
            raise ValueError(f"{name} must hold {spec.layers * len(parts)} matrices, got {tensor.shape[0]}")
        for i, matrix in enumerate(tensor.unbind()):
            matrices[matrix_name(i % spec.layers, parts[i // spec.layers])] = matrix
    return matrices


def bank(matrices: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    """The inverse of ``unbank``: a state dict that ``Gpt`` loads; ``ValueError`` names a matrix that is missing."""
    state: dict[str, Tensor] = {}
    layers, banks = range(spec.layers), bank_parts(spec)
    banked = [matrix_name(i, part) for parts in banks.values() for part in parts for i in layers]
    missing = [name for name in banked if name not in matrices]
    if missing:
        raise ValueError(f"matrices missing for {spec.layers} layers: {', '.join(missing)}")
    for name, tensor in matrices.items():
        if name not in banked:
            if name.startswith("blocks."):
                layer, _ = split_matrix_name(name)
                raise ValueError(f"{name} is of layer {layer}, but there are {spec.layers} layers")
            state[name] = tensor
    for name, parts in banks.items():
        state[name] = torch.stack([matrices[matrix_name(i, part)] for part in parts for i in layers])
    return state
