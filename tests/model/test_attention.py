import pytest
import torch
import torch.nn.functional as F

from fairway.model.attention import exclude_self


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_exclusive_attention_equals_its_definition(kv_heads):
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(2, 5, 4, 8, generator=generator)
    v = torch.randn(2, 5, kv_heads, 8, generator=generator)
    out = exclude_self(y, v)
    for h in range(4):
        unit = F.normalize(v[:, :, h // (4 // kv_heads)], dim=-1)
        expected = y[:, :, h] - (y[:, :, h] * unit).sum(-1, keepdim=True) * unit
        torch.testing.assert_close(out[:, :, h], expected)


def test_what_is_left_is_orthogonal_to_the_own_value_and_a_zero_value_excludes_nothing():
    y = torch.randn(3, 4, 8, generator=torch.Generator().manual_seed(0))
    v = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(1))
    v[0] = 0.0
    out = exclude_self(y, v)
    torch.testing.assert_close((out * v.repeat_interleave(2, 1)).sum(-1), torch.zeros(3, 4), atol=1e-5, rtol=0)
    assert torch.equal(out[0], y[0])
