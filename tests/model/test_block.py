import torch

from fairway.model.block import lerp_skip, one_lane, two_lanes
from fairway.model.hooks import PLAIN
from fairway.model.rotary import rotary_table
from fairway.model.weights import BlockContext, LayerWeights
from fairway.spec.model import ModelSpec

WIDTH, HEADS, MLP = 16, 2, 24
SPEC = ModelSpec(vocab_size=300, layers=4, width=WIDTH, heads=HEADS, kv_heads=1, mlp_width=MLP, rope_dims=4, xsa_last=1)


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights(*, lanes=False, **neutral):
    values = {
        "attn_scale": random(WIDTH, seed=1),
        "mlp_scale": random(WIDTH, seed=2),
        "resid_mix": random(2, WIDTH, seed=3),
        "lane_decay": random(2, seed=4) if lanes else None,
        "lane_mix": random(2, 2, seed=5) if lanes else None,
    }
    return LayerWeights(
        q=random(WIDTH, WIDTH, seed=6),
        k=random(WIDTH // 2, WIDTH, seed=7),
        v=random(WIDTH // 2, WIDTH, seed=8),
        o=random(WIDTH, WIDTH, seed=9),
        q_gain=random(HEADS, seed=10),
        up=random(MLP, WIDTH, seed=11),
        down=random(WIDTH, MLP, seed=12),
        **(values | neutral),
    )


def context(x0):
    """Of the fourth layer, whose input is scaled by a half."""
    return BlockContext(
        spec=SPEC,
        x0=x0,
        rotary=rotary_table(torch.arange(x0.shape[1]), 4, 10_000.0, torch.float32),
        packing=None,
        hooks=PLAIN,
        slot=0,
        layer=3,
    )


def attention_by_definition(x, w):
    """The attention block in float64, from the words of the recipe: norms, rotary, gain, causal softmax, XSA."""
    n = x.double() / (x.double().square().mean(-1, keepdim=True)).sqrt() * 0.5
    batch, length, _ = x.shape
    q = (n @ w.q.double().T).view(batch, length, HEADS, 8)
    k = (n @ w.k.double().T).view(batch, length, 1, 8).expand(-1, -1, HEADS, -1)
    v = (n @ w.v.double().T).view(batch, length, 1, 8).expand(-1, -1, HEADS, -1)
    angle = torch.outer(torch.arange(length).double(), torch.tensor([1.0, 0.01], dtype=torch.float64))[:, None]

    def turned(h):
        h = h / h.square().mean(-1, keepdim=True).sqrt()
        a, b = h[..., :2], h[..., 2:4]
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([a * cos + b * sin, b * cos - a * sin, h[..., 4:]], -1)

    scores = torch.einsum("bthk,bshk->bhts", turned(q) * w.q_gain.double()[:, None], turned(k)) / 8**0.5
    scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    y = torch.einsum("bhts,bshk->bthk", scores.softmax(-1), v)
    unit = v / v.norm(dim=-1, keepdim=True)
    y = y - (y * unit).sum(-1, keepdim=True) * unit
    return y.reshape(batch, length, WIDTH) @ w.o.double().T


def mlp_by_definition(x, w):
    n = x.double() / (x.double().square().mean(-1, keepdim=True)).sqrt() * 0.5
    u = n @ w.up.double().T
    return torch.where(u > 0, u**2, 0.25 * u**2) @ w.down.double().T


def test_one_lane_equals_its_formula():
    x, x0, w = random(2, 5, WIDTH, seed=20), random(2, 5, WIDTH, seed=21), weights()
    mixed = w.resid_mix[0].double() * x + w.resid_mix[1].double() * x0
    middle = mixed + w.attn_scale.double() * attention_by_definition(mixed, w)
    expected = middle + w.mlp_scale.double() * mlp_by_definition(middle, w)
    torch.testing.assert_close(one_lane(x, w, context(x0)).double(), expected, atol=1e-3, rtol=1e-4)


def test_two_lanes_equal_their_formula():
    lane0, lane1, x0 = (random(2, 5, WIDTH, seed=seed) for seed in (20, 21, 22))
    w = weights(lanes=True)
    r, p = w.lane_decay.double(), w.lane_mix.double()
    mixed = w.resid_mix[0].double() * lane0 + w.resid_mix[1].double() * x0
    a = w.attn_scale.double() * attention_by_definition(mixed, w)
    m = w.mlp_scale.double() * mlp_by_definition(lane1, w)
    new0, new1 = two_lanes(lane0, lane1, w, context(x0))
    torch.testing.assert_close(new0.double(), r[0] * lane0 + p[0, 0] * a + p[1, 0] * m, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(new1.double(), r[1] * lane1 + p[0, 1] * a + p[1, 1] * m, atol=1e-3, rtol=1e-4)


def test_a_skip_is_mixed_in_by_its_gate():
    x, skip, weight, gate = (random(*shape, seed=i) for i, shape in enumerate([(3, 4), (3, 4), (4,), (4,)]))
    g = 1 / (1 + torch.exp(-gate))
    torch.testing.assert_close(lerp_skip(x, skip, weight, gate), g * x + (1 - g) * weight * skip)
    torch.testing.assert_close(lerp_skip(x, skip, weight, torch.full((4,), 50.0)), x)


def test_neutral_scales_leave_the_stream_as_it_is():
    x, x0 = random(2, 5, WIDTH, seed=20), random(2, 5, WIDTH, seed=21)
    zero, keep = torch.zeros(WIDTH), torch.stack([torch.ones(WIDTH), torch.zeros(WIDTH)])
    still = weights(attn_scale=zero, mlp_scale=zero, resid_mix=keep)
    assert torch.equal(one_lane(x, still, context(x0)), x)
    parted = weights(lanes=True, resid_mix=keep, lane_decay=torch.ones(2), lane_mix=torch.zeros(2, 2))
    lane0, lane1 = two_lanes(x, x0, parted, context(x0))
    assert torch.equal(lane0, x) and torch.equal(lane1, x0)
