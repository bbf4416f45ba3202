import pytest
import torch
import torch.nn.functional as F

from fairway.kernels.norms import RMS_EPS, inverse_rms, scaled_rms_norm


def rows(*, scale=1.0, dtype=torch.float64, seed=0):
    return (torch.randn(3, 5, 16, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


# The smallest inputs feel the epsilon: 1e-4 squared is below it.
@pytest.mark.parametrize("size", [1e-4, 1.0, 1e3])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_values_and_gradients_equal_the_definition(size, scale):
    weight = rows(seed=1)
    results = []
    for function in (
        lambda x: scaled_rms_norm(x, scale),
        lambda x: x / (x.square().mean(-1, keepdim=True) + RMS_EPS).sqrt() * scale,
    ):
        x = rows(scale=size).requires_grad_()
        y = function(x)
        results.append((y, torch.autograd.grad((y * weight).sum(), x)[0]))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow)


def test_single_precision_equals_the_library_norm():
    x = rows(dtype=torch.float32)
    torch.testing.assert_close(scaled_rms_norm(x), F.rms_norm(x, (16,)))


def test_a_row_of_zeros_stays_zero_with_a_finite_gradient():
    x = torch.zeros(2, 4, requires_grad=True)
    y = scaled_rms_norm(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad.isfinite().all()


def test_half_precision_is_normed_in_single_precision_and_keeps_its_dtype():
    x = rows(dtype=torch.bfloat16).requires_grad_()
    y = scaled_rms_norm(x, 0.5)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == torch.bfloat16
    assert inverse_rms(x).dtype == torch.float32
    torch.testing.assert_close(y.float(), F.rms_norm(x.float(), (16,)) * 0.5, atol=0.01, rtol=0.01)
