"""Parameter name to optimizer: every parameter in exactly one group.

A parameter in no group stays at its initial value and nobody notices (recipes C.2 tells of days lost that way),
so a name that nobody declared is an error here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from fairway.spec.roles import BANK, Role, role_of


@dataclass(frozen=True, slots=True)
class ParameterGroups:
    """Parameters by name, one mapping an optimizer group."""

    matrices: dict[str, nn.Parameter]
    """Banks of matrices, for Muon."""
    embedding: dict[str, nn.Parameter]
    """The tied token embedding and other tables, for AdamW."""
    control: dict[str, nn.Parameter]
    """Scales, gains, mixes, gates and small maps, for AdamW."""

    def all(self) -> dict[str, nn.Parameter]:
        """Every parameter of every group."""
        return {**self.matrices, **self.embedding, **self.control}


def split_parameters(named: Iterable[tuple[str, nn.Parameter]]) -> ParameterGroups:
    """Sort ``model.named_parameters()`` into groups; an undeclared or shared parameter is a mistake of ours."""
    groups = ParameterGroups({}, {}, {})
    seen: set[int] = set()
    for name, parameter in named:
        assert id(parameter) not in seen, f"parameter {name} is in the model under two names"
        seen.add(id(parameter))
        if name.endswith(BANK):
            assert parameter.ndim == 3, f"bank {name} must be (matrices, rows, columns), got {tuple(parameter.shape)}"
            groups.matrices[name] = parameter
        else:
            role = role_of(name)
            assert role in (Role.EMBEDDING, Role.CONTROL), f"matrix {name} outside a bank has no optimizer"
            (groups.embedding if role is Role.EMBEDDING else groups.control)[name] = parameter
    assert len(groups.all()) == len(seen), "a parameter is in two groups"
    return groups
