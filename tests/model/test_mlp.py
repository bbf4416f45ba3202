import torch

from fairway.model.hooks import PLAIN
from fairway.model.mlp import mlp_output


def test_the_mlp_is_up_then_leaky_square_then_down():
    generator = torch.Generator().manual_seed(0)
    x, up, down = (torch.randn(*shape, generator=generator) for shape in ((2, 3, 4), (6, 4), (4, 6)))
    y = mlp_output(x, up, down, slope=0.5, slot=0, layer=0, hooks=PLAIN)
    torch.testing.assert_close(y, torch.nn.functional.leaky_relu(x @ up.T, 0.5).square() @ down.T)
