import torch

from fairway.model.hooks import PLAIN
from fairway.model.mlp import leaky_square, mlp_output


def test_a_leaky_square_is_the_square_above_zero_and_a_quarter_of_it_below():
    u = torch.linspace(-3, 3, 13, requires_grad=True)
    y = leaky_square(u, 0.5)
    torch.testing.assert_close(y, torch.where(u > 0, u**2, 0.25 * u**2))
    y.sum().backward()
    torch.testing.assert_close(u.grad, torch.where(u > 0, 2 * u, 0.5 * u).detach())


def test_the_mlp_is_up_then_leaky_square_then_down():
    generator = torch.Generator().manual_seed(0)
    x, up, down = (torch.randn(*shape, generator=generator) for shape in ((2, 3, 4), (6, 4), (4, 6)))
    y = mlp_output(x, up, down, slope=0.5, slot=0, layer=0, hooks=PLAIN)
    torch.testing.assert_close(y, leaky_square(x @ up.T, 0.5) @ down.T)
