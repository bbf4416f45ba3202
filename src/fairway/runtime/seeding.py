"""Named random generators, and the number of threads: the two things a CPU run's bits depend on."""

import hashlib

import torch

from fairway.errors import RecipeError


def generator(seed: int, tag: str, device: str | torch.device = "cpu") -> torch.Generator:
    """Random generator of its own for each tag, seeded by the first 4 bytes, big-endian, of SHA-256 of ``seed:tag``.

    The construction is the one that #1695 uses for its rotations. Nothing reads torch's global generator, so
    adding a draw in one place changes no draw in another.
    """
    number = int.from_bytes(hashlib.sha256(f"{seed}:{tag}".encode()).digest()[:4], "big")
    return torch.Generator(device=device).manual_seed(number)


def set_threads(threads: int) -> int:
    """Run torch's CPU kernels on so many threads (0: torch's own choice) and tell how many that are.

    The order of floating-point sums depends on it, hence the bits of the weights.
    """
    if threads < 0:
        raise RecipeError(f"train.threads must be 0 or more, got {threads}")
    if threads:
        torch.set_num_threads(threads)
    return torch.get_num_threads()
