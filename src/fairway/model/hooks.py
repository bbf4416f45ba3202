"""Where adapters, calibration and rotation enter the one forward."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

ADAPTED_PARTS = ("q", "k", "v", "o", "mlp")
"""Parts of a slot that ``adapt`` is asked about; the head is one more, once a forward."""
OBSERVED_PARTS = ("attn_in", "attn_proj_in", "mlp_in", "mlp_proj_in")
"""Inputs of a slot's linears that ``observe`` sees and ``rotate`` may rotate; ``head_in`` is one more."""


class Site(NamedTuple):
    """A place in the forward: a run of a layer (slot), the layer, and the part of it."""

    slot: int
    layer: int
    part: str


HEAD = Site(slot=-1, layer=-1, part="head")
HEAD_IN = Site(slot=-1, layer=-1, part="head_in")


def _hook_entered(tokens: Tensor, positions: Tensor, x: Tensor) -> Tensor:
    return x


def _hook_unadapted(site: Site, x: Tensor, y: Tensor) -> Tensor:
    return y


def _hook_unobserved(site: Site, x: Tensor) -> None:
    return None


def _hook_unrotated(part: str, x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What the forward calls at its sites; the defaults do nothing.

    At each linear the order is: ``observe`` its input, ``rotate`` it, multiply, ``adapt`` the output, which is
    given the input before rotation. ``o`` stands for the whole attention block: it is given the block's normalised
    input and its output before ``attn_scale``; ``mlp`` likewise (recipes E.5).
    """

    enter: Callable[[Tensor, Tensor, Tensor], Tensor] = _hook_entered
    """(tokens, positions in their pieces, x) -> x: what the first layer reads."""
    adapt: Callable[[Site, Tensor, Tensor], Tensor] = _hook_unadapted
    """(site, input, output) -> output."""
    observe: Callable[[Site, Tensor], None] = _hook_unobserved
    """(site, input); sites have the parts of ``OBSERVED_PARTS``."""
    rotate: Callable[[str, Tensor], Tensor] = _hook_unrotated
    """(part, input) -> input; for weights that were baked with the inverse rotation."""


PLAIN = Hooks()
