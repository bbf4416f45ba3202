import torch

from fairway.model.rotary import rotary_table, rotate_half, unit_heads


def heads(tokens=6, count=3, width=8):
    return torch.randn(2, tokens, count, width, generator=torch.Generator().manual_seed(0))


def table(positions, dims=4, base=100.0):
    return rotary_table(torch.as_tensor(positions), dims, base, torch.float32)


def test_each_pair_is_turned_by_its_angle_and_the_rest_of_a_head_stays():
    x = heads()
    y = rotate_half(x, table(range(6)))
    assert torch.equal(y[..., 4:], x[..., 4:])
    for t in range(6):
        for pair, frequency in enumerate((1.0, 100.0**-0.5)):
            turned = torch.complex(x[:, t, :, pair], x[:, t, :, pair + 2]) * torch.exp(
                torch.tensor(-1j * t * frequency)
            )
            torch.testing.assert_close(torch.complex(y[:, t, :, pair], y[:, t, :, pair + 2]), turned)


def test_scores_depend_on_distance_only():
    q, k = heads().double(), heads().flip(0).double()
    near, far = table(range(6)), table(range(50, 56))
    scores = [torch.einsum("bthk,bshk->bhts", rotate_half(q, r), rotate_half(k, r)) for r in (near, far)]
    torch.testing.assert_close(scores[0], scores[1], atol=1e-5, rtol=1e-5)


def test_position_zero_and_no_rotated_dimensions_leave_a_head_as_it_is():
    x = heads()
    assert torch.equal(rotate_half(x, table([0] * 6)), x)
    assert torch.equal(rotate_half(x, table(range(6), dims=0)), x)


def test_all_of_a_head_may_rotate():
    x = heads()
    torch.testing.assert_close(rotate_half(x, table(range(6), dims=8)).norm(dim=-1), x.norm(dim=-1))


def test_unit_heads_have_a_mean_square_of_one():
    torch.testing.assert_close(unit_heads(heads()).square().mean(-1), torch.ones(2, 6, 3))
