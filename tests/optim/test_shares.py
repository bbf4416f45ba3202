"""Muon by shares on one rank, against Muon itself; two ranks are compared in ``tests/train/test_ranks.py``."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from fairway.optim.muon import Muon
from fairway.optim.shares import RoundRobinMuon, ShardedMuon, norm_over_ranks
from fairway.runtime.ranks import Ranks
from fairway.spec.optim import MuonSpec

ALONE = Ranks(0, 1, torch.device("cpu"))
SPEC = MuonSpec(lr=0.1, weight_decay=0.3)
SHAPES = {"qo_bank": (4, 8, 8), "up_bank": (3, 24, 8), "down_bank": (3, 8, 24)}
ENGINES = pytest.mark.parametrize("engine", [RoundRobinMuon, ShardedMuon])


def banks_of(seed: int = 0) -> dict[str, nn.Parameter]:
    random = torch.Generator().manual_seed(seed)
    return {name: nn.Parameter(torch.randn(shape, generator=random)) for name, shape in SHAPES.items()}


def take(banks, muon, seed: int, momentum: float = 0.9, lr_scale: float = 0.5) -> None:
    random = torch.Generator().manual_seed(seed)
    for bank in banks.values():
        bank.grad = torch.randn(bank.shape, generator=random)
    if isinstance(muon, ShardedMuon):
        muon.start_reduce()
        muon.finish_reduce()
    muon.step(lr_scale=lr_scale, momentum=momentum)


@ENGINES
def test_shares_of_one_rank_are_the_whole_of_muon(engine) -> None:
    plain_banks, banks = banks_of(), banks_of()
    plain, shared = Muon(plain_banks, SPEC), engine(banks, SPEC, ALONE)
    for seed in (1, 2, 3):
        take(plain_banks, plain, seed)
        take(banks, shared, seed)
    for name, bank in banks.items():
        torch.testing.assert_close(bank, plain_banks[name], rtol=1e-5, atol=1e-6)


@ENGINES
def test_the_mlps_matrices_step_and_decay_at_rates_of_their_own(engine) -> None:
    spec = replace(SPEC, engine="round_robin", up_rate=0.7, down_rate=1.5)
    banks = banks_of()
    take(banks, engine(banks, spec, ALONE), 1)
    for name, factor in {"qo_bank": 1.0, "up_bank": 0.7, "down_bank": 1.5}.items():
        alone = banks_of()
        take(alone, Muon(alone, replace(SPEC, lr=SPEC.lr * factor)), 1)
        torch.testing.assert_close(banks[name], alone[name], rtol=1e-5, atol=1e-6)


def test_rates_that_the_plain_engine_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="up_rate and down_rate need engine"):
        MuonSpec(up_rate=0.7)


@ENGINES
def test_reset_forgets_the_momentum_of_the_shares(engine) -> None:
    banks, fresh_banks = banks_of(), banks_of()
    muon, fresh = engine(banks, SPEC, ALONE), engine(fresh_banks, SPEC, ALONE)
    take(banks, muon, 1)
    assert all(buffer.any() for buffer in muon.state_tensors())
    muon.reset()
    assert not any(buffer.any() for buffer in muon.state_tensors())
    for name, bank in banks.items():
        bank.data.copy_(fresh_banks[name].data)
    take(banks, muon, 2)
    take(fresh_banks, fresh, 2)
    for name, bank in banks.items():
        assert torch.equal(bank, fresh_banks[name])


def test_gradients_that_finish_reduce_returns_are_those_that_step_uses() -> None:
    # Muon forgets the size of a gradient in its direction, but its momentum does not.
    ends = []
    for factor in (1.0, 10.0):
        banks = banks_of()
        muon = ShardedMuon(banks, SPEC, ALONE)
        take(banks, muon, 1)
        for name, bank in banks.items():
            bank.grad = torch.randn(bank.shape, generator=torch.Generator().manual_seed(len(name)))
        muon.start_reduce()
        torch._foreach_mul_(muon.finish_reduce(), factor)
        muon.step(lr_scale=1.0, momentum=0.9)
        ends.append(banks["qo_bank"].detach())
    assert not torch.allclose(ends[0], ends[1], atol=1e-3)


def test_the_norm_is_that_of_all_gradients_together() -> None:
    parts = [torch.randn(3, 4), torch.randn(5)], [torch.randn(2, 2)]
    whole = torch.cat([tensor.flatten() for part in parts for tensor in part])
    torch.testing.assert_close(norm_over_ranks(*parts, ALONE), whole.norm())
