import math
from dataclasses import replace

import pytest
import torch

from fairway.model.banks import unbank
from fairway.model.gpt import Gpt
from fairway.quant.describe import describe
from fairway.quant.forecast import forecast, symbol_bits
from fairway.quant.grid import encode, row_steps
from fairway.quant.pipeline import pack, rotate_gptq
from fairway.spec.model import ModelSpec
from fairway.spec.quant import Grid, Lagrangian, Nearest, QuantSpec


@pytest.mark.parametrize(
    "bits, clip, expected",
    [
        (6, 12.85, 3.33),
        (6, 12.0, 3.43),
        (6, 13.0, 3.31),
        (6, 11.5, 3.49),
        (7, 15.0, 4.12),
        (7, 20.0, 3.71),
        (8, 20.0, 4.72),
    ],
)
def test_bits_a_symbol_are_those_of_the_published_rate_model(bits, clip, expected):
    assert symbol_bits(Grid(bits=bits, clip_sigmas=clip)) == pytest.approx(expected, abs=0.012)


@pytest.mark.parametrize(
    "grid", [Grid(bits=6, clip_sigmas=12.0), Grid(bits=3, clip_sigmas=1.5), Grid(bits=2, clip_sigmas=9.0)]
)
def test_bits_a_symbol_are_the_entropy_of_gaussian_rows_clamped_or_not(grid):
    w = torch.randn(50, 4000, generator=torch.Generator().manual_seed(0))
    _, counts = encode(w, row_steps(w, grid), grid.bits).unique(return_counts=True)
    shares = counts / counts.sum()
    assert symbol_bits(grid) == pytest.approx(float(-(shares * shares.log2()).sum()), abs=0.01)


def gaussian_model(spec: ModelSpec) -> Gpt:
    """Gaussian rows of different scale, and controls that all have moved a little."""
    model = Gpt(spec)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() == 3 and parameter.shape[-1] > 2 or parameter is model.embedding:
                scale = 0.05 * (0.25 * torch.randn(parameter.shape[:-1], generator=generator)).exp()
                parameter.copy_(noise * scale[..., None])
            else:
                parameter += 0.1 * noise
    return model


@pytest.mark.parametrize("width, layers, vocab", [(64, 4, 512), (128, 6, 1024)])
def test_the_forecast_is_within_three_percent_of_an_artifact_of_gaussian_weights(recipe, width, layers, vocab):
    spec = replace(recipe.model, width=width, mlp_width=3 * width, layers=layers, vocab_size=vocab)
    quant = replace(recipe.quant, rounding=Nearest())
    recipe = replace(recipe, model=spec, data=replace(recipe.data, vocab_size=vocab), quant=quant)
    model = gaussian_model(spec)
    eyes = {n: torch.eye(t.shape[1]) for n, t in unbank(model.state_dict(), model.spec).items() if t.dim() == 2}
    data = pack(rotate_gptq(model, eyes, quant), quant, {"recipe_sha256": "0f" * 32, "seed": 1})
    expected = forecast(recipe)
    assert expected.total_bytes == pytest.approx(len(data), rel=0.03)
    rows = describe(data)
    for role, size in expected.by_role.items():
        real = sum(row.size_bytes for row in rows if row.role == role)
        assert size == pytest.approx(real, rel=0.15 if role == "control" else 0.04), role
    assert expected.steps_bytes == pytest.approx(rows[-2].size_bytes, rel=0.15)
    assert expected.container_bytes == pytest.approx(rows[-1].size_bytes, rel=0.1)


def test_parts_sum_to_the_total(recipe):
    size = forecast(recipe)
    assert size.total_bytes == sum(size.by_role.values()) + size.steps_bytes + size.container_bytes


def test_the_published_sizes_are_met_within_two_percent(recipe):
    spec = ModelSpec(vocab_size=8192, layers=11, width=512, heads=8, kv_heads=4, mlp_width=2048)
    data = replace(recipe.data, vocab_size=8192)
    published = {15_970_000 - 15_516: (12.85, 12.85, 8, 20.0), 15_910_000 - 27_610: (13.0, 12.0, 7, 15.0)}
    for model_bytes, (attention, mlp, bits, clip) in published.items():
        quant = QuantSpec(
            attention=Grid(bits=6, clip_sigmas=attention),
            mlp=Grid(bits=6, clip_sigmas=mlp),
            embedding=Grid(bits=bits, clip_sigmas=clip),
        )
        size = forecast(replace(recipe, model=spec, data=data, quant=quant)).total_bytes
        assert size == pytest.approx(model_bytes, rel=0.02)
        assert math.isfinite(size)


def test_a_file_that_is_to_be_filled_is_forecast_full(recipe):
    plain = forecast(recipe).total_bytes
    for share in (0.7, 1.2):
        rates = Lagrangian(cap_bytes=round(share * plain), code_bytes=0, tolerance_bytes=200)
        found = forecast(replace(recipe, quant=replace(recipe.quant, rates=rates)))
        assert found.total_bytes == pytest.approx(share * plain, abs=700)
    roomy = forecast(replace(recipe, quant=replace(recipe.quant, rates=Lagrangian()))).total_bytes
    assert plain < roomy < 2 * plain
