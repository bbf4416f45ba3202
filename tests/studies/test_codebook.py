import pytest
import torch

from fairway.studies.codebook import compared, k_means, study, uniform_of_rate
from fairway.studies.inputs import Inputs
from fairway.studies.weights import entropy_bits


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_k_means_finds_levels_that_are_there():
    levels = torch.tensor([-2.0, -0.5, 0.25, 3.0])
    values_N = levels.repeat(50) + 0.01 * drawn(200)
    found_K, nearest_N = k_means(values_N, 4, 50)
    assert found_K == pytest.approx(levels, abs=0.02)
    assert (found_K[nearest_N.long()] - values_N).abs().max() < 0.05


def test_k_means_comes_near_the_best_quantizer_of_a_gaussian():
    # Max (1960): 0.009497 for 16 levels; Panter and Dite: sqrt(3) pi / 2 / K**2 for many
    values_N = drawn(200_000)
    for size, error, tolerance in ((16, 0.009497, 0.02), (256, 3**0.5 * torch.pi / 2 / 256**2, 0.05)):
        levels_K, nearest_N = k_means(values_N, size, 60)
        assert float((levels_K[nearest_N.long()] - values_N).square().mean()) == pytest.approx(error, rel=tolerance)


def test_the_uniform_step_has_the_rate_that_is_asked_for():
    values_N = drawn(50_000)
    for bits in (2.0, 4.5, 8.2):
        step, symbols_N = uniform_of_rate(values_N, bits)
        assert bits - 0.02 < entropy_bits(symbols_N) <= bits
        assert float((symbols_N.float() * step - values_N).abs().max()) <= step / 2 + 1e-4


def test_a_uniform_step_beats_a_codebook_of_its_rate_on_gaussian_weights():
    codebook, uniform = compared([drawn(256, 256)], 32, 60)
    assert codebook.bits == pytest.approx(uniform.bits, abs=0.02)
    assert 1.1 < codebook.squared / uniform.squared < 1.4
    assert codebook.sizes["range"] >= uniform.sizes["range"]


def test_a_codebook_wins_where_weights_have_few_values():
    # the comparison can come out the other way
    few = torch.tensor([-1.0, 0.13, 0.71, 1.9])[torch.randint(4, (64, 64), generator=torch.Generator().manual_seed(3))]
    codebook, uniform = compared([few], 8, 60)
    assert codebook.squared < 0.1 * uniform.squared


def test_the_study_has_both_sides_and_the_null(inputs: Inputs):
    result = study(inputs)
    table = result.tables["sizes"]
    assert set(table.column("weights")) == {"trained", "gaussian"}
    assert result.numbers["error_ratio_16"] == pytest.approx(result.numbers["error_ratio_16_null"], rel=0.3)
    assert result.numbers["largest_squared_over_floor"] < 1
