"""Parameter name to role: total over the model, decided once.

The model keeps its matrices in banks (``qo_bank`` and so on); quantization, optimizers and studies speak of
single matrices, named ``blocks.<layer>.<part>``. Both spellings have a role here; a name without one is an
error, so no parameter can be forgotten.
"""

import re
from enum import StrEnum


class Role(StrEnum):
    """What a tensor does in the model."""

    EMBEDDING = "embedding"
    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    ATTN_OUT = "attn_out"
    MLP_UP = "mlp_up"
    MLP_DOWN = "mlp_down"
    CONTROL = "control"
    """Scales, gains, mixes and gates: no matrix of a linear map."""


ATTENTION_ROLES = (Role.QUERY, Role.KEY, Role.VALUE, Role.ATTN_OUT)
MLP_ROLES = (Role.MLP_UP, Role.MLP_DOWN)
MATRIX_ROLES = ATTENTION_ROLES + MLP_ROLES

BANK_NAMES = ("qo_bank", "kv_bank", "up_bank", "down_bank")

_PART_ROLES = {
    "q": Role.QUERY,
    "k": Role.KEY,
    "v": Role.VALUE,
    "o": Role.ATTN_OUT,
    "up": Role.MLP_UP,
    "down": Role.MLP_DOWN,
}
_CONTROL_NAMES = frozenset(
    {
        "attn_scale",
        "mlp_scale",
        "resid_mix",
        "q_gain",
        "skip_weight",
        "skip_gate",
        "lane_decay",
        "lane_mix",
    }
)
_MATRIX_NAME = re.compile(r"blocks\.(\d+)\.(q|k|v|o|up|down)")


def matrix_name(layer: int, part: str) -> str:
    """Name of one matrix outside its bank, e.g. ``blocks.3.up``."""
    if part not in _PART_ROLES:
        raise ValueError(f"part must be one of {', '.join(_PART_ROLES)}, got {part!r}")
    return f"blocks.{layer}.{part}"


def split_matrix_name(name: str) -> tuple[int, str]:
    """Layer and part of ``blocks.<layer>.<part>``; ``ValueError`` for any other name."""
    match = _MATRIX_NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"a matrix is named blocks.<layer>.<q|k|v|o|up|down>, got {name!r}")
    return int(match[1]), match[2]


def is_named(name: str) -> bool:
    """Whether a tensor outside its bank may be called so."""
    return name == "embedding" or name in _CONTROL_NAMES or _MATRIX_NAME.fullmatch(name) is not None


def role_of(name: str) -> Role:
    """Role of a tensor outside its bank; ``ValueError`` for a name nobody declared."""
    if name == "embedding":
        return Role.EMBEDDING
    if name in _CONTROL_NAMES:
        return Role.CONTROL
    _, part = split_matrix_name(name)
    return _PART_ROLES[part]
