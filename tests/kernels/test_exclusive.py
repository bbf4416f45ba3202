import pytest
import torch
import torch.nn.functional as F

from fairway.kernels.exclusive import exclude_self


def case(kv_heads, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 5, heads, 8, generator=generator).to(dtype) for heads in (4, kv_heads)]


def excluded_by_definition(y, v):
    unit = F.normalize(v, dim=-1).repeat_interleave(y.shape[-2] // v.shape[-2], dim=-2)
    return y - (y * unit).sum(-1, keepdim=True) * unit


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_values_and_gradients_equal_the_definition(kv_heads):
    weight = torch.randn(2, 5, 4, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    results = []
    for function in (exclude_self, excluded_by_definition):
        leaves = [x.requires_grad_() for x in case(kv_heads)]
        z = function(*leaves)
        results.append([z, *torch.autograd.grad((z * weight).sum(), leaves)])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow)


def test_what_is_left_is_orthogonal_to_the_own_value():
    y, v = case(2, torch.float32)
    left = exclude_self(y, v) * v.repeat_interleave(2, dim=-2)
    torch.testing.assert_close(left.sum(-1), torch.zeros(2, 5, 4), atol=1e-5, rtol=0)


def test_a_value_of_zero_excludes_nothing_and_has_a_finite_gradient():
    y, v = case(2)
    v[0] = 0.0
    v.requires_grad_()
    z = exclude_self(y, v)
    assert torch.equal(z[0], y[0])
    assert torch.autograd.grad(z.sum(), v)[0].isfinite().all()


def test_half_precision_keeps_its_dtype():
    y, v = (x.requires_grad_() for x in case(2, torch.bfloat16))
    z = exclude_self(y, v)
    z.sum().backward()
    assert {z.dtype, y.grad.dtype, v.grad.dtype} == {torch.bfloat16}
    torch.testing.assert_close(
        z.double(), excluded_by_definition(y.detach().double(), v.detach().double()), atol=0.05, rtol=0.05
    )
