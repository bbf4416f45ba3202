"""One interface to causal attention, whatever computes it: dense rows, and documents packed in one flat row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.kernels.varlen_attention import Packing, causal_attention, pack_segments, segment_attention


class Pieces(NamedTuple):
    """Where documents lie in a flat row, for backends that are told bounds: no padded batch, no index tables."""

    cu_seqlens: Int[Tensor, " C"]
    """Segment ``i`` is ``cu_seqlens[i]..cu_seqlens[i + 1]``, int32; empty segments may stand at the end."""
    max_len: int
    """No segment is longer."""
    positions: Int[Tensor, " N"]
    """Of each token, from its segment's start."""
    block_mask: Any = None
    """FlexAttention's, which is made once a forward."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One backend, on a device and dtype that it was found fit for. Gradients flow through both functions."""

    name: str
    origin: str
    """Whose code it is, with its version."""
    place: Callable[[Tensor, int, int], Packing | Pieces]
    """(cu_seqlens, tokens, most tokens of a segment) to what ``packed`` needs of them, made once a forward."""
    dense: Callable[[Tensor, Tensor, Tensor], Tensor]
    """q (B, T, H, K), k and v (B, T, G, K) to (B, T, H, K): each row causal from its start."""
    packed: Callable[[Tensor, Tensor, Tensor, Any], Tensor]
    """q (N, H, K), k and v (N, G, K) and what ``place`` gave to (N, H, K): each segment causal from its start."""
    any_bounds: bool = True
    """Whether a compiled graph serves every number of segments; a padded batch has one shape for each."""


def place_pieces(cu_seqlens: Int[Tensor, " C"], tokens: int, max_len: int) -> Pieces:
    """Bounds as the flash backends read them.

    They are not checked: that would wait for a GPU in each forward, and both who make them (``data.documents``,
    ``score.flat``) cut no segment longer than ``max_len``.
    """
    bounds = cu_seqlens.to(torch.int32)
    flat = torch.arange(tokens, device=bounds.device, dtype=torch.int32)
    start = bounds[torch.searchsorted(bounds, flat, right=True) - 1]
    return Pieces(cu_seqlens=bounds, max_len=max_len, positions=flat - start)


SDPA = Attention(
    name="sdpa",
    origin=f"torch {torch.__version__}",
    place=pack_segments,
    dense=causal_attention,
    packed=segment_attention,
    any_bounds=False,
)
"""PyTorch's scaled_dot_product_attention: on every device, in every dtype, packed rows through a padded batch."""
