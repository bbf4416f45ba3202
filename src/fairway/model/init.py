"""Parameter to initialiser: total over the model (recipes B.3, B.4)."""

import hashlib

import torch
from torch import Tensor

from fairway.model.gpt import Gpt

_INIT_CONSTANTS = {"attn_scale": 1.0, "mlp_scale": 1.0, "skip_weight": 1.0, "skip_gate": 0.0, "lane_mix": 1.0}
_INIT_LANE_DECAY = 1.1


@torch.no_grad()
def initialise(model: Gpt, seed: int) -> None:
    """Set every parameter from the seed: Q, K, V and up orthogonal, O and down zero, the embedding normal.

    Each tensor draws from a generator of its own, named by the seed and the parameter, on the CPU; so the weights
    do not hang on the order of parameters or on the device.
    """
    layers = model.spec.layers
    for name, parameter in model.named_parameters():
        generator = torch.Generator().manual_seed(_init_seed(seed, name))
        if name == "embedding":
            value = torch.randn(parameter.shape, generator=generator) * model.spec.embedding_std
        elif name == "qo_bank":
            value = torch.zeros(parameter.shape)
            value[:layers] = _init_orthogonal(value[:layers].shape, generator)
        elif name in ("kv_bank", "up_bank"):
            value = _init_orthogonal(parameter.shape, generator)
        elif name == "down_bank":
            value = torch.zeros(parameter.shape)
        elif name == "resid_mix":
            value = torch.tensor([1.0, 0.0])[:, None].expand(parameter.shape)
        elif name == "q_gain":
            value = torch.full(parameter.shape, model.spec.qk_gain)
        elif name == "lane_decay":
            value = torch.full(parameter.shape, _INIT_LANE_DECAY)
        else:
            value = torch.full(parameter.shape, _INIT_CONSTANTS[name])
        parameter.copy_(value)


def _init_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:init.{name}".encode()).digest()[:4], "big")


def _init_orthogonal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """A batch of matrices with orthonormal rows or columns, whichever are fewer."""
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    wide = shape[-2] < shape[-1]
    q, r = torch.linalg.qr(normal.mT if wide else normal)
    # The sign of R's diagonal is LAPACK's choice; taking it out makes the matrix uniform and the same everywhere.
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return (q.mT if wide else q).float()
