"""A made-up model of three layers, several seeds of it, and the files that a study reads."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fairway.studies.checkpoint import Checkpoint, load_checkpoint
from fairway.studies.inputs import Inputs

LAYERS, WIDTH, KV, MLP, VOCAB = 3, 24, 12, 48, 64
SHAPES = {"c_q": (WIDTH, WIDTH), "c_k": (KV, WIDTH), "c_v": (KV, WIDTH), "proj": (WIDTH, WIDTH)}


def state_dict(seed: int) -> dict[str, torch.Tensor]:
    """Gaussian weights under the names of the official scripts."""
    draw = torch.Generator().manual_seed(seed)
    state = {"tok_emb.weight": torch.randn(VOCAB, WIDTH, generator=draw)}
    for i in range(LAYERS):
        for name, shape in SHAPES.items():
            state[f"blocks.{i}.attn.{name}.weight"] = torch.randn(shape, generator=draw)
        state[f"blocks.{i}.mlp.fc.weight"] = torch.randn(MLP, WIDTH, generator=draw)
        state[f"blocks.{i}.mlp.proj.weight"] = torch.randn(WIDTH, MLP, generator=draw)
    return state


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Checkpoint]:
    """Writes a state dict as an official script does, and reads it back."""

    def save(name: str, state: dict[str, torch.Tensor]) -> Checkpoint:
        path = tmp_path / name / "final_model.pt"
        path.parent.mkdir(exist_ok=True)
        torch.save(state, path)
        return load_checkpoint(path, None)

    return save


@pytest.fixture
def inputs(saved: Callable[..., Checkpoint]) -> Inputs:
    """Two seeds that share nothing."""
    return Inputs(checkpoints=(saved("seed1", state_dict(1)), saved("seed2", state_dict(2))), quick=True)
