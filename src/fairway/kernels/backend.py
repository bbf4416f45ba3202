"""Which attention a stage runs: the one that the recipe names, or the fastest that this machine can."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from fairway.errors import RecipeError
from fairway.kernels.attention import SDPA, Attention
from fairway.kernels.flash_attention import load_fa3, load_fa4, load_varlen
from fairway.kernels.flex_attention import load_flex

_Loader = Callable[[torch.device, torch.dtype, int], Attention | str]


def _load_sdpa(device: torch.device, dtype: torch.dtype, head_width: int) -> Attention | str:
    return SDPA


_ATTENTION_LOADERS: Mapping[str, _Loader] = {
    "fa3": load_fa3,
    "fa4": load_fa4,
    "varlen": load_varlen,
    "flex": load_flex,
    "sdpa": _load_sdpa,
}
"""From the fastest on Hopper to what runs anywhere; the order is that of published measurements."""


class Choice(NamedTuple):
    """A backend, and why those before it were passed over, by name."""

    attention: Attention
    passed_over: dict[str, str]


def choose_attention(wanted: str, device: torch.device, dtype: torch.dtype, head_width: int) -> Choice:
    """The backend that ``model.attention`` names, or for ``auto`` the first that can run here.

    ``RecipeError`` where the named one cannot: nothing else takes its place.
    """
    names = tuple(_ATTENTION_LOADERS) if wanted == "auto" else (wanted,)
    passed_over: dict[str, str] = {}
    for name in names:
        found = _ATTENTION_LOADERS[name](device, dtype, head_width)
        if isinstance(found, Attention):
            return Choice(found, passed_over)
        passed_over[name] = found
    raise RecipeError(
        f"model.attention: {wanted!r} cannot run on {device}: {passed_over[wanted]};"
        " 'auto' takes the fastest that can, 'sdpa' runs everywhere"
    )
