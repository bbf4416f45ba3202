"""A model to a file and back, named tensors only."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fairway.errors import DataError
from fairway.model.gpt import Gpt
from fairway.runtime.tensors import load_tensors, save_tensors
from fairway.spec.model import ModelSpec


def save_model(path: Path, model: Gpt | Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a model's parameters by name (or a mapping of them), whole or not at all."""
    state = dict(model.named_parameters()) if isinstance(model, Gpt) else model
    save_tensors(path, state, metadata)


def load_model(path: Path, spec: ModelSpec, dtype: torch.dtype = torch.float32) -> Gpt:
    """Model of ``spec`` with the weights of ``path``, computing in ``dtype``.

    ``DataError`` unless names and shapes are exactly the model's own.
    """
    return model_of(load_tensors(path), path, spec, dtype)


def model_of(tensors: Mapping[str, Tensor], path: Path, spec: ModelSpec, dtype: torch.dtype) -> Gpt:
    """``load_model`` of tensors that were read from ``path`` before."""
    model = Gpt(spec, dtype)
    wanted = dict(model.named_parameters())
    missing, surplus = wanted.keys() - tensors.keys(), tensors.keys() - wanted.keys()
    if missing or surplus:
        raise DataError(
            f"{path}: not a checkpoint of this recipe's model: lacks {sorted(missing)}, has unknown {sorted(surplus)}"
        )
    with torch.no_grad():
        for name, parameter in wanted.items():
            if tensors[name].shape != parameter.shape:
                raise DataError(
                    f"{path}: {name} must be {tuple(parameter.shape)} for this recipe, got {tuple(tensors[name].shape)}"
                )
            parameter.copy_(tensors[name])
    return model
