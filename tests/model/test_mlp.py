import torch
import torch.nn.functional as F

from fairway.model.hooks import PLAIN
from fairway.model.mlp import mlp_output, turn_pairs
from fairway.model.rotary import rotary_table
from fairway.model.weights import BlockContext, LayerWeights
from fairway.spec.model import ModelSpec

SIZES = {"vocab_size": 300, "layers": 2, "width": 8, "heads": 2, "kv_heads": 1, "mlp_width": 12, "rope_dims": 4}


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def output(x, *, up, down, spec=None, **extra):
    unread = dict.fromkeys(("q", "k", "v", "o", "q_gain", "attn_scale", "mlp_scale", "resid_mix"), torch.zeros(()))
    rotary = rotary_table(torch.arange(3), 4, 10_000.0, torch.float32)
    spec = spec or ModelSpec(**SIZES)
    context = BlockContext(spec=spec, x0=x, rotary=rotary, packing=None, hooks=PLAIN, slot=0, layer=0)
    return mlp_output(x, LayerWeights(up=up, down=down, **unread, **extra), context)


X, UP, DOWN = random(2, 3, 8, seed=0), random(12, 8, seed=1), random(8, 12, seed=2)


def test_the_mlp_is_up_then_leaky_square_then_down():
    torch.testing.assert_close(output(X, up=UP, down=DOWN), F.leaky_relu(X @ UP.T, 0.5).square() @ DOWN.T)


def test_star_relu_is_the_square_times_a_scale_plus_a_shift():
    spec = ModelSpec(**SIZES, star_relu=True, negative_slope=0.0)
    scale, bias = random(12, seed=3), random(12, seed=4)
    u = X @ UP.T
    expected = (u.clamp_min(0) ** 2 * scale + bias) @ DOWN.T
    torch.testing.assert_close(output(X, up=UP, down=DOWN, spec=spec, star_scale=scale, star_bias=bias), expected)


def test_angles_turn_pairs_of_channels_before_up_and_keep_their_length():
    spec, weight = ModelSpec(**SIZES, angle_pairs=3), random(3, 8, seed=5)
    turned = X.clone()
    for batch in range(2):
        for t in range(3):
            for i in range(3):
                theta = weight[i] @ X[batch, t]
                u, v = X[batch, t, i], X[batch, t, 3 + i]
                turned[batch, t, i] = u * theta.cos() - v * theta.sin()
                turned[batch, t, 3 + i] = u * theta.sin() + v * theta.cos()
    torch.testing.assert_close(turn_pairs(X, X @ weight.T), turned)
    torch.testing.assert_close(turned.norm(dim=-1), X.norm(dim=-1))
    torch.testing.assert_close(
        output(X, up=UP, down=DOWN, spec=spec, angle_weight=weight), output(turned, up=UP, down=DOWN)
    )
