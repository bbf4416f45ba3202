"""Which tensor gets which treatment: decided by role, total over the model, none left over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairway.errors import GateError
from fairway.spec.quant import Grid, Kept, QuantileGrid, QuantSpec, TrellisGrid
from fairway.spec.roles import ATTENTION_ROLES, MATRIX_ROLES, MLP_ROLES, Role, role_of, split_matrix_name

KEPT_BITS = 16
"""Bits of a value of a tensor that is kept: half precision."""

INPUT_PARTS = {
    "q": "attn_in",
    "q_in": "attn_in",
    "q_out": "q_proj_in",
    "k": "attn_in",
    "v": "attn_in",
    "o": "attn_proj_in",
    "up": "mlp_in",
    "down": "mlp_proj_in",
}
"""Part of a matrix to the name of the linear input it reads, as the model's hooks call it."""

_PLAN_ROLE_ORDER = {role: place for place, role in enumerate(Role)}


@dataclass(frozen=True, slots=True)
class Treatment:
    """What happens to one tensor: ``grid`` None means that it is kept in half precision."""

    name: str
    role: Role
    shape: tuple[int, ...]
    grid: Grid | QuantileGrid | TrellisGrid | None

    @property
    def bits(self) -> int:
        """Bits of one value before entropy coding."""
        return KEPT_BITS if self.grid is None else self.grid.bits


def input_part(name: str) -> str | None:
    """The linear input that a block's matrix reads; None for the embedding and for tensors that are no matrix."""
    role = role_of(name)
    return INPUT_PARTS[split_matrix_name(name)[1]] if role in MATRIX_ROLES else None


def grid_of(role: Role, quant: QuantSpec) -> Grid | QuantileGrid | TrellisGrid | None:
    """The grid of a role's tensors; None for those that are kept."""
    if role in ATTENTION_ROLES:
        return quant.attention
    if role in MLP_ROLES:
        return quant.mlp
    return quant.embedding if role is Role.EMBEDDING else None


def plan(shapes: Mapping[str, Sequence[int]], quant: QuantSpec) -> list[Treatment]:
    """One treatment a tensor, ordered by role, then layer: the order of the artifact.

    ``shapes`` is keyed by names outside banks; ``GateError`` for a name without a role.
    """
    treatments = []
    for name, shape in shapes.items():
        try:
            role = role_of(name)
        except ValueError as error:
            raise GateError(f"tensor {name!r} has no role, so nothing says how to quantize it: {error}") from error
        grid = grid_of(role, quant)
        if isinstance(quant.kept, Kept) and name in quant.kept.names:
            grid = None
        if grid is not None and len(shape) != 2:
            raise GateError(f"tensor {name} must be a matrix to be quantized, got shape {list(shape)}")
        treatments.append(Treatment(name, role, tuple(shape), grid))
    if isinstance(quant.kept, Kept) and not shapes.keys() >= set(quant.kept.names):
        raise GateError(f"quant.kept.names must be tensors of the model, got {', '.join(quant.kept.names)}")
    return sorted(treatments, key=_plan_place)


def _plan_place(treatment: Treatment) -> tuple[int, int, str]:
    layer = split_matrix_name(treatment.name)[0] if treatment.role in MATRIX_ROLES else 0
    return _PLAN_ROLE_ORDER[treatment.role], layer, treatment.name
