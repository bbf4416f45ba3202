import pytest
import torch

from fairway.kernels.polar import POLAR_EXPRESS, POLAR_QUINTIC, orthogonalize

QUINTIC = (POLAR_QUINTIC,) * 5


def random_matrix(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("polynomials", [QUINTIC, POLAR_EXPRESS], ids=["quintic", "express"])
@pytest.mark.parametrize("shape", [(32, 32), (16, 48), (48, 16), (128, 512), (3, 24, 16), (2, 2, 8, 20)])
def test_singular_values_of_a_full_rank_matrix_come_near_one(shape, polynomials):
    x = random_matrix(*shape)
    # Gaussian squares have singular values down to zero, which no fixed number of steps can lift.
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    x = (u * s.clamp_min(0.05 * s.amax(-1, keepdim=True))[..., None, :]) @ vh
    values = torch.linalg.svdvals(orthogonalize(x, polynomials))
    assert values.min() > (0.65 if polynomials is QUINTIC else 0.7)
    assert values.max() < (1.25 if polynomials is QUINTIC else 1.2)


def test_singular_vectors_are_kept():
    x = random_matrix(16, 48)
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    inner = u.mT @ orthogonalize(x, QUINTIC) @ vh.mT
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-4, rtol=0)


def test_a_batch_is_each_matrix_by_itself_and_transposition_commutes():
    x = random_matrix(3, 24, 16)
    batched = orthogonalize(x, QUINTIC)
    torch.testing.assert_close(batched, torch.stack([orthogonalize(m, QUINTIC) for m in x]))
    torch.testing.assert_close(batched.mT, orthogonalize(x.mT, QUINTIC))


def test_scale_does_not_matter_and_zero_stays_zero():
    x = random_matrix(16, 16)
    torch.testing.assert_close(orthogonalize(x, QUINTIC), orthogonalize(1000 * x, QUINTIC), atol=1e-4, rtol=1e-4)
    assert torch.equal(orthogonalize(torch.zeros(2, 8, 4), QUINTIC), torch.zeros(2, 8, 4))


def test_the_dtype_is_that_of_the_input():
    assert orthogonalize(random_matrix(4, 4).bfloat16(), QUINTIC).dtype == torch.bfloat16


def test_polynomials_act_on_singular_values_one_after_another():
    x = random_matrix(3, 12, 20)
    u, values, vh = torch.linalg.svd(x.double(), full_matrices=False)
    values = values / values.square().sum(-1, keepdim=True).sqrt()
    for a, b, c in POLAR_EXPRESS[:4]:
        values = a * values + b * values**3 + c * values**5
    wanted = (u * values[..., None, :]) @ vh
    torch.testing.assert_close(orthogonalize(x, POLAR_EXPRESS[:4]).double(), wanted, atol=1e-4, rtol=1e-4)


def test_polar_express_lifts_small_singular_values_further_than_the_quintic():
    x = torch.diag(torch.tensor([1.0] + [0.003] * 7))
    express, quintic = (torch.linalg.svdvals(orthogonalize(x, p)) for p in (POLAR_EXPRESS, QUINTIC))
    assert express.min() > 0.8 > quintic.min()
