"""Symmetric matrices as triangles: exact ways there and back, and the bytes that they save."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.data.batches import Batch
from fairway.errors import ArtifactError, GateError
from fairway.model.banks import bank, unbank
from fairway.model.gpt import Gpt
from fairway.model.weights import symmetric, symmetric_share
from fairway.quant.hessian import collect
from fairway.quant.pipeline import pack, rotate_gptq, unpack
from fairway.quant.triangle import square, triangle
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import Hadamard, NoRotation, Triangles

LAYERS = Triangles(layers=(1, 3))
NAMES = {"blocks.1.q", "blocks.3.q", "blocks.1.o", "blocks.3.o"}


def normal(size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(size, size, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(size=st.integers(1, 20), seed=st.integers(0, 99))
def test_a_triangle_lists_the_entries_from_the_diagonal_on_and_gives_the_symmetric_part_back(size, seed):
    w = normal(size, seed)
    slow = [(float(w[i, j]) + float(w[j, i])) / 2 for i in range(size) for j in range(i, size)]
    torch.testing.assert_close(triangle(w)[0], torch.tensor(slow))
    assert torch.equal(square(triangle(w)), symmetric(w))


def test_the_energy_of_the_symmetric_part():
    assert float(symmetric_share(symmetric(normal(30)))) == pytest.approx(1.0)
    assert float(symmetric_share(normal(200) - normal(200).T)) == pytest.approx(0.0, abs=1e-6)
    assert float(symmetric_share(normal(200))) == pytest.approx(0.5, abs=0.02)


def test_so_many_entries_that_make_no_triangle_are_refused():
    with pytest.raises(ArtifactError, match="1, 3, 6, 10, ... entries, got 7"):
        square(torch.zeros(1, 7))


def test_triangles_and_rotation_exclude_each_other(quant_spec):
    with pytest.raises(ValueError, match="a turned matrix is not symmetric"):
        replace(quant_spec, rotation=Hadamard(), triangles=LAYERS)


@pytest.fixture
def hessians(model):
    tokens = torch.randint(2, 300, (1, 257), generator=torch.Generator().manual_seed(0))
    alone = Ranks(rank=0, world=1, device=torch.device("cpu"))
    return collect(model, [Batch(tokens[:, :-1], tokens[:, 1:], None)], 1, alone, looped=True)


@torch.no_grad()
def test_the_artifact_gives_back_symmetric_matrices_in_nearly_half_the_bytes(model, hessians, quant_spec):
    plain = replace(quant_spec, rotation=NoRotation())
    sizes, states = {}, {}
    for name, quant in {
        "plain": plain,
        "whole": replace(plain, triangles=replace(LAYERS, whole=True)),
        "triangle": replace(plain, triangles=LAYERS),
    }.items():
        data = pack(rotate_gptq(model, hessians, quant), quant, {})
        states[name], header = unpack(data, quant)
        sizes[name] = sum(stream["size"] for stream in header["streams"] if stream["name"] in ("query", "attn_out"))
    before = unbank(model.state_dict(), model.spec)
    largest = {name: float(symmetric(before[name]).std()) * 13 / 31 for name in NAMES}
    for name in NAMES:
        assert torch.equal(states["triangle"][name], states["triangle"][name].T)
        assert float((states["triangle"][name] - symmetric(before[name])).abs().max()) < largest[name]
    for name in before.keys() - NAMES:
        assert torch.equal(states["triangle"][name], states["plain"][name])
    # of four layers two have about half the symbols, so that a quarter goes; stored whole, nothing does
    assert 0.70 * sizes["plain"] < sizes["triangle"] < 0.82 * sizes["plain"]
    assert sizes["whole"] > 0.97 * sizes["plain"]
    restored = Gpt(model.spec)
    restored.load_state_dict(bank(states["triangle"], model.spec))


def test_layers_that_the_model_lacks_are_refused(model, hessians, quant_spec):
    quant = replace(quant_spec, rotation=NoRotation(), triangles=Triangles(layers=(9,)))
    with pytest.raises(GateError, match=r"there is no blocks\.9\.q"):
        rotate_gptq(model, hessians, quant)


@torch.no_grad()
def test_an_artifact_without_the_triangle_is_refused(model, hessians, quant_spec):
    plain = replace(quant_spec, rotation=NoRotation())
    data = pack(rotate_gptq(model, hessians, plain), plain, {})
    with pytest.raises(ArtifactError, match=r"one triangle of blocks\.1\.q"):
        unpack(data, replace(plain, triangles=LAYERS))
