"""Named generators and threads."""

import hashlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fairway.errors import RecipeError
from fairway.runtime.seeding import generator, set_threads


@given(seed=st.integers(0, 2**40), tag=st.text(max_size=20))
def test_a_generator_is_seeded_by_the_first_four_bytes_of_the_hash_of_seed_and_tag(seed: int, tag: str) -> None:
    expected = hashlib.sha256(f"{seed}:{tag}".encode()).hexdigest()[:8]
    assert generator(seed, tag).initial_seed() == int(expected, 16)


def test_equal_names_draw_equal_numbers_and_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    first = torch.randn(8, generator=generator(3, "a"))
    assert torch.equal(first, torch.randn(8, generator=generator(3, "a")))
    assert not torch.equal(first, torch.randn(8, generator=generator(3, "b")))
    assert not torch.equal(first, torch.randn(8, generator=generator(4, "a")))
    assert torch.equal(before, torch.get_rng_state())


def test_threads_are_set_if_given_and_zero_leaves_them() -> None:
    before = torch.get_num_threads()
    try:
        assert set_threads(1) == 1 == torch.get_num_threads()
        assert set_threads(0) == 1
        with pytest.raises(RecipeError, match="train.threads must be 0 or more, got -1"):
            set_threads(-1)
    finally:
        torch.set_num_threads(before)
