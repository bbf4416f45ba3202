"""Parameter to initialiser: total over the model (recipes B.3, B.4)."""

import hashlib

import torch
from torch import Tensor

from fairway.model.gpt import Gpt
from fairway.model.history import depths, legendre
from fairway.model.parameters import neutral_parameters
from fairway.spec.mechanisms import DenseHeadGate, LegendreMix, NgramHash, ValueEmbedding
from fairway.spec.model import Loops, ModelSpec
from fairway.spec.roles import BANK

_INIT_VALUE_STD = 0.01


@torch.no_grad()
def initialise(model: Gpt, seed: int) -> None:
    """Set every parameter from the seed: Q, K, V and up random, O and down zero, the embedding normal.

    Each tensor draws from a generator of its own, named by the seed and the parameter, on the CPU; so the weights
    do not hang on the order of parameters or on the device.
    """
    for name, value in neutral_parameters(model.spec).items():
        generator = torch.Generator().manual_seed(_init_seed(seed, name))
        model.get_parameter(name).copy_(_init_value(name, value, model.spec, generator))


def _init_value(name: str, neutral: Tensor, spec: ModelSpec, generator: torch.Generator) -> Tensor:
    if name == "embedding":
        return torch.randn(neutral.shape, generator=generator) * spec.embedding_std
    if name.endswith(BANK) and name != "down_bank" and not (spec.q_rank and name == "qo_bank"):
        drawn = neutral[: spec.layers] if name == "qo_bank" else neutral
        drawn.copy_((_init_uniform if spec.start == "uniform" else _init_orthogonal)(drawn.shape, generator))
    if isinstance(spec.bigram, NgramHash) and name.startswith("bigram_"):
        return _init_table(name, neutral, spec.bigram.embedding_std, spec.bigram.weight_gain, generator)
    if isinstance(spec.trigram, NgramHash) and name.startswith("trigram_"):
        return _init_table(name, neutral, spec.trigram.embedding_std, spec.trigram.weight_gain, generator)
    if isinstance(spec.value_embedding, ValueEmbedding) and name in ("value_embedding", "value_weight"):
        return _init_table(name, neutral, _INIT_VALUE_STD, spec.value_embedding.weight_gain, generator)
    if isinstance(spec.head_gate, DenseHeadGate) and name == "head_gate":
        return torch.randn(neutral.shape, generator=generator) * spec.head_gate.std
    if isinstance(spec.resid_start, LegendreMix) and name == "resid_mix":
        wanted = (_init_series(c, spec.layers) for c in (spec.resid_start.stream, spec.resid_start.embedding))
        return (neutral + torch.stack(list(wanted), 1)[:, :, None]) / 2
    if isinstance(spec.loops, Loops) and spec.loops.adapter_rank and name == "run_in_weight":
        return _init_uniform(neutral.shape, generator)
    return neutral


def _init_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:init.{name}".encode()).digest()[:4], "big")


def _init_uniform(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Within 1/sqrt(inputs), as PyTorch's own linear layers start."""
    return (torch.rand(shape, generator=generator) * 2 - 1) * shape[-1] ** -0.5


def _init_table(name: str, neutral: Tensor, std: float, gain: float, generator: torch.Generator) -> Tensor:
    if name.endswith("_embedding"):
        return torch.randn(neutral.shape, generator=generator) * std
    if name.endswith("_weight"):
        return _init_orthogonal(neutral.shape, generator) * gain
    return neutral


def _init_series(coefficients: tuple[int, ...], layers: int) -> Tensor:
    """A Legendre series over depth, one value a layer."""
    series = torch.tensor(coefficients, dtype=torch.float32)
    return series @ legendre(depths(layers), len(coefficients) - 1)


def _init_orthogonal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """A batch of matrices with orthonormal rows or columns, whichever are fewer."""
    normal = torch.randn(shape, generator=generator, dtype=torch.float64)
    wide = shape[-2] < shape[-1]
    q, r = torch.linalg.qr(normal.mT if wide else normal)
    # The sign of R's diagonal is LAPACK's choice; taking it out makes the matrix uniform and the same everywhere.
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]
    return (q.mT if wide else q).float()
