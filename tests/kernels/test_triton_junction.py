import torch

from fairway.kernels.fused_junction import mix_norm
from fairway.kernels.fused_lanes import lanes_norm
from fairway.kernels.norms import RMS_EPS

SCALE = 0.7


def normed(y):
    return SCALE * y / (y.square().mean(-1, keepdim=True) + RMS_EPS).sqrt()


def two(x, w_x, s, w_s):
    y = (x if w_x is None else w_x * x) + w_s * s
    return y, normed(y)


def crossing(p, q, a, m, skip, x0, w):
    left = w[0] * p + w[1] * a + w[2] * m
    left = left if skip is None else left + w[3] * skip
    right = w[4] * q + w[5] * a + w[6] * m
    return left, right, normed(w[7] * left + w[8] * x0), normed(right)


def test_a_sum_of_two_streams_its_norm_and_their_gradients_follow_the_formula(hold_against, normal):
    inputs = [normal(2, 21, 50), normal(50), normal(2, 21, 50), normal(50)]
    hold_against(lambda *each: mix_norm(*each, SCALE), two, inputs)
    x, _, s, w_s = inputs
    hold_against(lambda x, s, w: mix_norm(x, None, s, w, SCALE), lambda x, s, w: two(x, None, s, w), [x, s, w_s])


def test_a_sum_that_is_used_no_more_and_a_norm_that_is_not_used_get_no_gradient(hold_against, normal):
    inputs = [normal(9, 50), normal(50), normal(9, 50), normal(50)]
    hold_against(lambda *each: mix_norm(*each, SCALE)[1], lambda *each: two(*each)[1], inputs)
    hold_against(lambda *each: mix_norm(*each, SCALE)[0], lambda *each: two(*each)[0], inputs)


def test_one_stream_may_be_both(hold_against, normal):
    inputs = [normal(9, 50), normal(50), normal(50)]
    hold_against(lambda x, v, w: mix_norm(x, v, x, w, SCALE), lambda x, v, w: two(x, v, x, w), inputs)


def test_the_junction_of_two_lanes_and_its_gradients_follow_the_formula(hold_against, normal):
    inputs = [*(normal(2, 21, 50) for _ in range(6)), normal(9, 50)]
    hold_against(lambda *each: tuple(lanes_norm(*each[:6], each[6].float(), SCALE)), crossing, inputs)


def test_the_junction_without_a_skip_leaves_the_skips_weights_alone(hold_against, normal):
    inputs = [*(normal(1, 11, 50) for _ in range(5)), normal(9, 50)]
    hold_against(
        lambda p, q, a, m, x0, w: tuple(lanes_norm(p, q, a, m, None, x0, w.float(), SCALE)),
        lambda p, q, a, m, x0, w: crossing(p, q, a, m, None, x0, w),
        inputs,
    )


def test_rows_that_many_programs_share_are_all_counted(form_device, normal, monkeypatch):
    monkeypatch.setattr("fairway.kernels.fused_junction._JUNCTION_PROGRAMS", 3)
    x, w = normal(50, 8).to(form_device), torch.ones(8, device=form_device).requires_grad_()
    y, _ = mix_norm(x, w, x, w.detach(), SCALE)
    y.sum().backward()
    torch.testing.assert_close(w.grad, x.sum(0))
