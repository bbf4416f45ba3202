import hashlib

import pytest
import torch

from fairway.kernels.hadamard import hadamard_rotation, sylvester_hadamard


@pytest.mark.parametrize("n", [1, 2, 3, 12, 64, 96, 128, 384])
def test_a_rotation_is_orthogonal(n):
    r = hadamard_rotation(n, 20260416, "attn_in").double()
    torch.testing.assert_close(r @ r.mT, torch.eye(n, dtype=torch.float64), atol=1e-6, rtol=0)


def test_entries_of_a_power_of_two_are_all_equally_large():
    torch.testing.assert_close(hadamard_rotation(64, 1, "x").abs(), torch.full((64, 64), 0.125))


def test_a_rotation_is_signs_from_the_hashed_seed_times_sylvesters_matrix():
    seed = int(hashlib.sha256(b"7:mlp_in").hexdigest()[:8], 16)
    signs = torch.randint(0, 2, (8,), generator=torch.Generator().manual_seed(seed)) * 2 - 1
    rows = [[(-1) ** (i & j).bit_count() for j in range(8)] for i in range(8)]
    expected = torch.tensor(rows) * signs[:, None] / 8**0.5
    torch.testing.assert_close(hadamard_rotation(8, 7, "mlp_in"), expected)


def test_the_leading_block_spans_the_same_columns_where_n_is_no_power_of_two():
    r = hadamard_rotation(12, 3, "t").double()
    digest = hashlib.sha256(b"3:t").digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))
    signs = torch.randint(0, 2, (16,), generator=generator) * 2 - 1
    block = (signs[:, None] * sylvester_hadamard(16))[:12, :12] / 4
    upper = r.mT @ block
    torch.testing.assert_close(upper, upper.triu(), atol=1e-6, rtol=0)
    assert (upper.diagonal() > 0).all()


def test_seed_and_tag_each_change_the_rotation_and_nothing_else_does():
    assert torch.equal(hadamard_rotation(32, 1, "a"), hadamard_rotation(32, 1, "a"))
    assert not torch.equal(hadamard_rotation(32, 1, "a"), hadamard_rotation(32, 1, "b"))
    assert not torch.equal(hadamard_rotation(32, 1, "a"), hadamard_rotation(32, 2, "a"))


def test_an_order_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="got 12"):
        sylvester_hadamard(12)
