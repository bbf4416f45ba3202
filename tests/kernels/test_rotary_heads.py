import pytest
import torch
import torch.nn.functional as F

from fairway.kernels.rotary_heads import rotary_heads

HEADS, WIDTH = 3, 8


def heads(tokens=6, *, dtype=torch.float32, seed=0):
    return torch.randn(2, tokens, HEADS, WIDTH, generator=torch.Generator().manual_seed(seed)).to(dtype)


def table(positions, half=2, dtype=torch.float32):
    angles = torch.outer(torch.as_tensor(positions).double(), 100.0 ** -(torch.arange(half) / max(half, 1)))[:, None]
    return angles.cos().to(dtype), angles.sin().to(dtype)


def heads_by_definition(x, gain, cos, sin):
    """Norm, then rotation, then gain, left to autograd."""
    half = cos.shape[-1]
    x = F.rms_norm(x, x.shape[-1:], eps=torch.finfo(torch.float32).eps)
    a, b, rest = x.split([half, half, WIDTH - 2 * half], dim=-1)
    x = torch.cat([a * cos + b * sin, b * cos - a * sin, rest], dim=-1)
    return x if gain is None else x * gain[:, None]


@pytest.mark.parametrize("half", [0, 1, 2, 4])
@pytest.mark.parametrize("with_gain", [False, True])
def test_values_and_gradients_equal_the_definition(half, with_gain):
    gain = torch.tensor([5.0, -0.5, 1.5], dtype=torch.float64)
    inputs = [heads(dtype=torch.float64), gain] if with_gain else [heads(dtype=torch.float64)]
    weight = heads(dtype=torch.float64, seed=1)
    results = []
    for function in (rotary_heads, heads_by_definition):
        leaves = [x.clone().requires_grad_() for x in inputs]
        y = function(leaves[0], leaves[1] if with_gain else None, *table(range(6), half, torch.float64))
        results.append([y, *torch.autograd.grad((y * weight).sum(), leaves)])
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow)


def test_each_pair_turns_as_a_complex_number_against_its_angle():
    x = F.rms_norm(heads(), (WIDTH,))
    y = rotary_heads(heads(), None, *table(range(6)))
    for t in range(6):
        for pair, frequency in enumerate((1.0, 0.1)):
            turn = torch.exp(torch.tensor(-1j * t * frequency))
            turned = torch.complex(x[:, t, :, pair], x[:, t, :, pair + 2]) * turn
            torch.testing.assert_close(torch.complex(y[:, t, :, pair], y[:, t, :, pair + 2]), turned)


def test_scores_depend_on_distance_only():
    scores = [
        torch.einsum("bthk,bshk->bhts", rotary_heads(heads(), None, *r), rotary_heads(heads(seed=1), None, *r))
        for r in (table(range(6)), table(range(50, 56)))
    ]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-4, rtol=1e-4)


def test_position_zero_leaves_unit_heads_and_the_input_is_not_written_to():
    x = heads()
    before = x.clone()
    torch.testing.assert_close(rotary_heads(x, None, *table([0] * 6)), F.rms_norm(x, (WIDTH,)))
    rotary_heads(x, torch.ones(HEADS), *table(range(6)))
    assert torch.equal(x, before)


def test_half_precision_stays_near_double_and_keeps_its_dtype():
    x = heads(dtype=torch.bfloat16).requires_grad_()
    gain = torch.full((HEADS,), 5.0, dtype=torch.bfloat16, requires_grad=True)
    y = rotary_heads(x, gain, *table(range(6), dtype=torch.bfloat16))
    y.sum().backward()
    assert {y.dtype, x.grad.dtype, gain.grad.dtype} == {torch.bfloat16}
    exact = heads_by_definition(x.detach().double(), gain.detach().double(), *table(range(6), dtype=torch.float64))
    torch.testing.assert_close(y.double(), exact, atol=0.1, rtol=0.03)
