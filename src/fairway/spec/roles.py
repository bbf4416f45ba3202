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
    """Tables with a row a token, or a hash of tokens; the token embedding is the head too."""
    QUERY = "query"
    KEY = "key"
    VALUE = "value"
    ATTN_OUT = "attn_out"
    MLP_UP = "mlp_up"
    MLP_DOWN = "mlp_down"
    CONTROL = "control"
    """Scales, gains, mixes, gates and small maps: kept as they are."""
    CORRECTION = "correction"
    """Factors of what is added to a rounded matrix, rows of rounded gates; no parameter of a model."""


ATTENTION_ROLES = (Role.QUERY, Role.KEY, Role.VALUE, Role.ATTN_OUT)
MLP_ROLES = (Role.MLP_UP, Role.MLP_DOWN)
MATRIX_ROLES = ATTENTION_ROLES + MLP_ROLES

_PART_ROLES = {
    "q": Role.QUERY,
    "q_in": Role.QUERY,
    "q_out": Role.QUERY,
    "k": Role.KEY,
    "v": Role.VALUE,
    "o": Role.ATTN_OUT,
    "up": Role.MLP_UP,
    "down": Role.MLP_DOWN,
}
BANK = "_bank"
"""How the names of parameters end that hold one matrix of each layer, or two."""
RAW = "raw_"
"""What the names of a second set of weights begin with: those of the last step, beside their average."""
_MATRIX_NAME = re.compile(r"(?:raw_)?blocks\.(\d+)\.(\w+)")
_CONTROL_NAME = re.compile(r"\w+_(scale|gain|mix|weight|gate|decay|bias)")
"""A control parameter's name ends in what it is."""


def matrix_name(layer: int, part: str) -> str:
    """Name of one matrix outside its bank, e.g. ``blocks.3.up``."""
    if part not in _PART_ROLES:
        raise ValueError(f"part must be one of {', '.join(_PART_ROLES)}, got {part!r}")
    return f"blocks.{layer}.{part}"


def split_matrix_name(name: str) -> tuple[int, str]:
    """Layer and part of ``blocks.<layer>.<part>``; ``ValueError`` for any other name."""
    match = _MATRIX_NAME.fullmatch(name)
    if match is None or match[2] not in _PART_ROLES:
        raise ValueError(f"a matrix is named blocks.<layer>.<{'|'.join(_PART_ROLES)}>, got {name!r}")
    return int(match[1]), match[2]


def is_named(name: str) -> bool:
    """Whether a tensor outside its bank may be called so."""
    try:
        role_of(name)
    except ValueError:
        return False
    return True


def role_of(name: str) -> Role:
    """Role of a tensor outside its bank; ``ValueError`` for a name nobody declared."""
    if name.endswith("embedding"):
        return Role.EMBEDDING
    if _CONTROL_NAME.fullmatch(name):
        return Role.CONTROL
    if name.endswith((".left", ".right", ".rows")):
        return Role.CORRECTION
    _, part = split_matrix_name(name)
    return _PART_ROLES[part]
