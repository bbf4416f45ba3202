import pytest
import torch

from fairway.kernels.leaky_square import leaky_square


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_a_leaky_square_and_its_gradient_equal_the_definition(slope):
    u = torch.linspace(-3, 3, 14, requires_grad=True)
    weight = torch.linspace(-1, 2, 14)
    y = leaky_square(u, slope)
    (grad,) = torch.autograd.grad((y * weight).sum(), u)
    torch.testing.assert_close(y, torch.where(u > 0, u, slope * u).square())
    torch.testing.assert_close(grad, torch.where(u > 0, 2 * u, 2 * slope**2 * u).detach() * weight)


def test_the_input_is_not_written_to():
    u = torch.linspace(-3, 3, 14)
    before = u.clone()
    leaky_square(u, 0.5)
    assert torch.equal(u, before)
