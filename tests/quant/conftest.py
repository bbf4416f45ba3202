from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from fairway.model.gpt import Gpt
from fairway.model.init import initialise
from fairway.quant.plan import plan
from fairway.spec.data import DataSpec
from fairway.spec.model import Loops, ModelSpec, TwoLanes
from fairway.spec.optim import AdamSpec, MuonSpec, OptimSpec
from fairway.spec.quant import CodecName, Grid, Hadamard, QuantSpec
from fairway.spec.recipe import Lineage, Recipe
from fairway.spec.score import Flat, ScoreSpec
from fairway.spec.train import TrainSpec


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model_spec() -> ModelSpec:
    return ModelSpec(
        vocab_size=300,
        layers=4,
        width=48,
        heads=4,
        kv_heads=2,
        mlp_width=96,
        rope_dims=4,
        xsa_last=2,
        loops=Loops(first=1, last=2, extra=1),
        lanes=TwoLanes(start=3),
    )


@pytest.fixture(scope="session")
def quant_spec() -> QuantSpec:
    return QuantSpec(
        attention=Grid(bits=6, clip_sigmas=13.0),
        mlp=Grid(bits=5, clip_sigmas=8.0),
        embedding=Grid(bits=7, clip_sigmas=15.0),
        rotation=Hadamard(),
    )


@pytest.fixture(scope="session")
def by() -> Callable[[CodecName], QuantSpec]:
    """A recipe's quantization that packs by one codec."""
    grid = Grid(bits=6, clip_sigmas=12.85)
    return lambda codec: QuantSpec(attention=grid, mlp=grid, embedding=grid, codec=codec)


@pytest.fixture(scope="session")
def recipe(model_spec: ModelSpec, quant_spec: QuantSpec) -> Recipe:
    return Recipe(
        name="toy",
        track="pocket",
        seeds=(1,),
        lineage=Lineage(because="tests"),
        data=DataSpec(vocab_size=300, val_docs=1),
        model=model_spec,
        optim=OptimSpec(muon=MuonSpec(), adam=AdamSpec()),
        train=TrainSpec(context=64, batch_tokens=64, micro_batch_tokens=64, budget_s=2.0, reserve_s=1.0),
        quant=quant_spec,
        score=ScoreSpec(context=64, batch_tokens=64, method=Flat(), diagnostic=Flat(), budget_s=1.0),
    )


def lively_model(spec: ModelSpec, seed: int = 0) -> Gpt:
    """A model in which every part does something: fresh ones have zero output projections."""
    model = Gpt(spec)
    initialise(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


@pytest.fixture
def model(model_spec: ModelSpec) -> Gpt:
    return lively_model(model_spec)


def correlated_hessian(inputs: int, seed: int, rows: int = 400) -> Tensor:
    """X^T X of inputs that go together and differ in scale, as real ones do."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=generator) / inputs**0.5 + 0.5
    x = torch.randn(rows, inputs, generator=generator) @ mix * torch.rand(inputs, generator=generator).exp()
    return x.T @ x / rows


@dataclass
class Toy:
    """Helpers for tests, which cannot import one another."""

    lively_model = staticmethod(lively_model)
    correlated_hessian = staticmethod(correlated_hessian)
    plan = staticmethod(plan)


@pytest.fixture(scope="session")
def toy() -> Toy:
    return Toy()
