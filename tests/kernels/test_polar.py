import pytest
import torch

from fairway.kernels.polar import orthogonalize


def random_matrix(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(32, 32), (16, 48), (48, 16), (128, 512), (3, 24, 16), (2, 2, 8, 20)])
def test_singular_values_of_a_full_rank_matrix_come_near_one(shape):
    x = random_matrix(*shape)
    # Gaussian squares have singular values down to zero, which no fixed number of steps can lift.
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    x = (u * s.clamp_min(0.05 * s.amax(-1, keepdim=True))[..., None, :]) @ vh
    values = torch.linalg.svdvals(orthogonalize(x, steps=5))
    assert values.min() > 0.65
    assert values.max() < 1.25


def test_singular_vectors_are_kept():
    x = random_matrix(16, 48)
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    inner = u.mT @ orthogonalize(x) @ vh.mT
    torch.testing.assert_close(inner, torch.diag(inner.diagonal()), atol=1e-4, rtol=0)


def test_a_batch_is_each_matrix_by_itself_and_transposition_commutes():
    x = random_matrix(3, 24, 16)
    batched = orthogonalize(x)
    torch.testing.assert_close(batched, torch.stack([orthogonalize(m) for m in x]))
    torch.testing.assert_close(batched.mT, orthogonalize(x.mT))


def test_scale_does_not_matter_and_zero_stays_zero():
    x = random_matrix(16, 16)
    torch.testing.assert_close(orthogonalize(x), orthogonalize(1000 * x), atol=1e-4, rtol=1e-4)
    assert torch.equal(orthogonalize(torch.zeros(2, 8, 4)), torch.zeros(2, 8, 4))


def test_the_dtype_is_that_of_the_input():
    assert orthogonalize(random_matrix(4, 4).bfloat16()).dtype == torch.bfloat16
