import math

import pytest
import torch

from fairway.studies.inputs import Inputs
from fairway.studies.weights import (
    CODECS,
    FLOOR,
    FLOORED,
    FREE,
    entropy_bits,
    excess_kurtosis,
    gaussian_rows,
    gaussian_rows_columns,
    laid,
    matrices,
    on_grid,
    run_tensors,
)


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_kurtosis_of_known_distributions():
    assert excess_kurtosis(torch.tensor([-1.0, 1.0]).repeat(100)) == pytest.approx(-2.0)
    assert excess_kurtosis(torch.linspace(-1, 1, 10_001)) == pytest.approx(-1.2, abs=0.01)
    assert excess_kurtosis(drawn(400, 400)) == pytest.approx(0.0, abs=0.05)
    assert excess_kurtosis(torch.zeros(5)) == 0.0


def test_entropy_of_known_counts():
    assert entropy_bits(torch.arange(8).repeat(5)) == pytest.approx(3.0)
    assert entropy_bits(torch.full((9,), -4)) == 0.0
    assert entropy_bits(torch.tensor([-1, -1, -1, 5], dtype=torch.int8)) == pytest.approx(0.8112781)


def test_gaussian_twins_have_the_rows_and_columns_of_the_weights():
    w_OI = drawn(300, 200) * torch.linspace(0.1, 2, 300)[:, None] * torch.linspace(0.2, 3, 200)
    dice = torch.Generator().manual_seed(1)
    rows, both = gaussian_rows(w_OI, dice), gaussian_rows_columns(w_OI, dice)
    for twin in (rows, both):
        assert twin.square().mean(1) == pytest.approx(w_OI.square().mean(1), rel=0.5)
    assert both.square().mean(0) == pytest.approx(w_OI.square().mean(0), rel=0.6)
    assert not torch.allclose(rows.square().mean(0), w_OI.square().mean(0), rtol=0.6)


def test_rows_below_one_have_the_step_of_the_floor():
    w_OI = drawn(4, 64).clamp(-0.9, 0.9)
    w_OI[3, 0] = 3.1
    _, step_O = on_grid(w_OI, FLOORED)
    assert step_O[:3] == pytest.approx([float(torch.tensor(FLOOR).half())] * 3)
    assert float(step_O[3]) == pytest.approx(0.1, rel=1e-3)
    assert float(on_grid(w_OI, FREE)[1][0]) == pytest.approx(0.9 / 31, rel=1e-3)


def test_every_codec_packs_symbols_of_little_entropy_and_none_packs_noise():
    noise = torch.randint(-128, 128, (64, 64), generator=torch.Generator().manual_seed(2)).to(torch.int8)
    for name, size in CODECS.items():
        assert size(laid([torch.zeros(64, 64, dtype=torch.int8)])) < 100, name
        assert size(laid([noise])) > 4000, name


def test_matrices_are_what_a_quantizer_rounds(inputs: Inputs):
    found = matrices(inputs.checkpoints[0])
    assert {"embedding", "blocks.0.k", "blocks.2.down"} <= found.keys()
    assert len(found) == 1 + 3 * 6
    assert "embedding" not in matrices(inputs.checkpoints[0], embeddings=False)
    assert run_tensors(inputs, 0, "hessians.safetensors") == {}
    assert all(math.isfinite(float(w.sum())) for w in found.values())
