"""A model to a file and back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fairway.errors import DataError
from fairway.runtime.tensors import load_metadata
from fairway.train.checkpoint import load_model, save_model


def test_a_model_comes_back_bit_for_bit(world: Any, tmp_path: Path) -> None:
    model = world.fresh_model(seed=5)
    save_model(tmp_path / "model.safetensors", model, {"seed": "5"})
    loaded = load_model(tmp_path / "model.safetensors", world.model)
    assert load_metadata(tmp_path / "model.safetensors") == {"seed": "5"}
    wanted = dict(model.named_parameters())
    assert dict(loaded.named_parameters()).keys() == wanted.keys()
    assert all(torch.equal(parameter, wanted[name]) for name, parameter in loaded.named_parameters())
    save_model(tmp_path / "state.safetensors", wanted, {"seed": "5"})
    assert (tmp_path / "state.safetensors").read_bytes() == (tmp_path / "model.safetensors").read_bytes()


def test_weights_of_another_model_are_refused_with_the_tensor_that_differs(world: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_model(path, world.fresh_model(), {})
    with pytest.raises(DataError, match=r"model.safetensors: up_bank must be \(4, 32, 16\) for this recipe, got"):
        load_model(path, replace(world.model, mlp_width=32))
    state = dict(world.fresh_model().named_parameters())
    state["smear"] = state.pop("q_gain")
    save_model(path, state, {})
    with pytest.raises(DataError, match=r"lacks \['q_gain'\], has unknown \['smear'\]"):
        load_model(path, world.model)
