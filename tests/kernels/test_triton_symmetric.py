import pytest
import torch

from fairway.kernels.polar import POLAR_EXPRESS, POLAR_QUINTIC, orthogonalize
from fairway.kernels.symmetric import orthogonalize_symmetric, symmetric_product


@pytest.mark.parametrize("sizes", [(150, 70), (70, 150), (128, 64)])
def test_products_follow_the_formula_and_are_their_own_mirror_to_the_last_bit(form_device, normal, dtype, sizes):
    x = normal(2, *sizes).to(dtype)
    gram = symmetric_product(x.to(form_device))
    assert gram.dtype == dtype and torch.equal(gram, gram.mT)
    right = x.double() @ x.double().mT
    tolerance = 1e-6 if dtype == torch.float32 else 8e-3
    assert (gram.cpu().double() - right).norm() < tolerance * right.norm()
    inner = symmetric_product(gram, gram, alpha=0.3, beta=-2.0)
    assert torch.equal(inner, inner.mT)
    g = gram.cpu().double()
    right = 0.3 * g @ g - 2.0 * g
    assert (inner.cpu().double() - right).norm() < tolerance * right.norm()


@pytest.mark.parametrize("polynomials", [(POLAR_QUINTIC,) * 5, POLAR_EXPRESS], ids=["quintic", "express"])
def test_orthogonalisation_is_that_of_whole_products(form_device, normal, polynomials):
    for shape in ((3, 20, 33), (2, 40, 16)):
        x = normal(*shape).to(form_device)
        torch.testing.assert_close(
            orthogonalize_symmetric(x, polynomials),
            orthogonalize(x, polynomials),
            rtol=2e-2 if x.is_cuda else 1e-4,
            atol=1e-5,
        )
