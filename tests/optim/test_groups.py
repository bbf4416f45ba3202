"""Parameter name to optimizer."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from fairway.model.gpt import Gpt
from fairway.optim.groups import split_parameters
from fairway.spec.model import Loops, ModelSpec, NoLoops, OneLane, TwoLanes


def specs() -> Iterator[ModelSpec]:
    sizes = {"vocab_size": 40, "layers": 4, "width": 16, "heads": 2, "kv_heads": 1, "mlp_width": 32, "rope_dims": 4}
    for loops in (NoLoops(), Loops(first=1, last=2)):
        for lanes in (OneLane(), TwoLanes(start=2)):
            yield ModelSpec(**sizes, loops=loops, lanes=lanes)  # type: ignore[arg-type]


@pytest.mark.parametrize("spec", list(specs()), ids=lambda spec: f"{spec.loops.kind}-{spec.lanes.kind}")
def test_every_parameter_of_every_model_is_in_exactly_one_group(spec: ModelSpec) -> None:
    model = Gpt(spec)
    groups = split_parameters(model.named_parameters())
    names = [*groups.matrices, *groups.embedding, *groups.control]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    assert set(groups.matrices) == {"qo_bank", "kv_bank", "up_bank", "down_bank"}
    assert set(groups.embedding) == {"embedding"}
    assert groups.all() == dict(model.named_parameters())


@pytest.mark.parametrize("name", ["smear", "lm_head", "qo_bank2"])
def test_a_parameter_that_nobody_declared_stops_us(name: str) -> None:
    with pytest.raises(ValueError, match=f"got '{name}'"):
        split_parameters([(name, nn.Parameter(torch.zeros(2)))])


def test_a_shared_parameter_or_a_flat_bank_stops_us() -> None:
    shared = nn.Parameter(torch.zeros(2))
    with pytest.raises(AssertionError, match="mlp_scale is in the model under two names"):
        split_parameters([("attn_scale", shared), ("mlp_scale", shared)])
    with pytest.raises(AssertionError, match="bank up_bank must be"):
        split_parameters([("up_bank", nn.Parameter(torch.zeros(2, 2)))])
    with pytest.raises(AssertionError, match=r"matrix blocks.0.q outside a bank"):
        split_parameters([("blocks.0.q", nn.Parameter(torch.zeros(2, 2)))])
