import torch

from fairway.kernels.fused_mlp import fused_mlp, mlp_up


def formula(x, up, down, slope):
    u = x @ up.mT
    return torch.where(u > 0, u, slope * u).square() @ down.mT


def test_the_fused_mlp_and_its_gradients_follow_the_formula_whatever_the_sizes(hold_against, normal):
    inputs = [normal(3, 50, 70), normal(300, 70), normal(70, 300)]
    hold_against(lambda *each: fused_mlp(*each, 0.5), lambda *each: formula(*each, 0.5), inputs)


def test_sizes_that_blocks_divide_take_the_path_without_masks(hold_against, normal):
    inputs = [normal(128, 64), normal(256, 64), normal(64, 256)]
    hold_against(lambda *each: fused_mlp(*each, 0.3), lambda *each: formula(*each, 0.3), inputs)


def test_a_slope_of_zero_is_a_squared_relu(hold_against, normal):
    inputs = [normal(9, 8), normal(17, 8), normal(8, 17)]
    hold_against(lambda *each: fused_mlp(*each, 0.0), lambda *each: formula(*each, 0.0), inputs)


def test_one_bit_is_kept_for_each_element(form_device, normal):
    x, up = normal(5, 8), normal(13, 8)
    post, signs = mlp_up(x.to(form_device), up.to(form_device), 0.5)
    assert signs.dtype == torch.uint8 and signs.shape == (5, 2) and post.shape == (5, 13)
    negative = x @ up.mT < 0
    for row in range(5):
        for column in range(13):
            assert (int(signs[row, column // 8]) >> (column % 8) & 1) == int(negative[row, column])
