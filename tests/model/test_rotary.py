import torch

from fairway.model.rotary import rotary_table


def test_angles_are_positions_times_frequencies_over_the_rotated_dimensions():
    table = rotary_table(torch.tensor([0, 3, 50]), 4, 100.0, torch.float32)
    angles = torch.tensor([[0.0, 0.0], [3.0, 0.3], [50.0, 5.0]])[:, None]
    torch.testing.assert_close(table.cos, angles.cos())
    torch.testing.assert_close(table.sin, angles.sin())


def test_half_precision_tables_are_rounded_from_single_precision_angles():
    positions = torch.arange(4000, 4010)
    half = rotary_table(positions, 16, 10_000.0, torch.bfloat16)
    assert torch.equal(half.sin, rotary_table(positions, 16, 10_000.0, torch.float32).sin.bfloat16())


def test_no_rotated_dimensions_make_an_empty_table():
    assert rotary_table(torch.arange(5), 0, 10_000.0, torch.float32).cos.shape == (5, 1, 0)
