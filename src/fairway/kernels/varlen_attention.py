"""Causal attention over dense rows, and over documents packed one after another in a flat row."""

from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


class Packing(NamedTuple):
    """Where each token of a flat row stands in the padded batch of its segments, and back.

    ``padded_from_flat`` names, for each place of the padded batch, the flat token that fills it (any token for
    padding); ``flat_from_padded`` names each flat token's place; ``positions`` count from its segment's start.
    """

    segments: int
    max_len: int
    padded_from_flat: Int[Tensor, " M"]
    flat_from_padded: Int[Tensor, " N"]
    positions: Int[Tensor, " N"]


def pack_segments(cu_seqlens: Int[Tensor, " C"], tokens: int, max_len: int) -> Packing:
    """Index tables for segments ``cu_seqlens[i]..cu_seqlens[i+1]`` of a flat row, made once a forward.

    Segments must cover the row and none may be longer than ``max_len``; zero-length segments at the end (the
    padding of ``cu_seqlens``) are dropped, except while tracing, where the number of rows must not depend on
    values.
    """
    bounds = cu_seqlens.long()
    starts, lengths = bounds[:-1], bounds.diff()
    if not torch.compiler.is_compiling():
        if int(bounds[0]) != 0 or int(bounds[-1]) != tokens or int(lengths.min()) < 0:
            raise ValueError(f"cu_seqlens must rise from 0 to {tokens}, got {bounds[0]}..{bounds[-1]}")
        if int(lengths.max()) > max_len:
            raise ValueError(f"segments must have at most {max_len} tokens, got {int(lengths.max())}")
        starts, lengths = starts[lengths > 0], lengths[lengths > 0]
    flat = torch.arange(tokens, device=bounds.device)
    segment = torch.searchsorted(starts, flat, right=True) - 1
    positions = flat - starts[segment]
    offsets = torch.arange(max_len, device=bounds.device)
    source = starts[:, None] + torch.minimum(offsets, (lengths - 1).clamp_min(0)[:, None])
    return Packing(
        segments=starts.shape[0],
        max_len=max_len,
        padded_from_flat=source.clamp_max(tokens - 1).flatten(),
        flat_from_padded=segment * max_len + positions,
        positions=positions,
    )


class _GatherRows(torch.autograd.Function):
    """Rows by index, for an index whose inverse is known: the gradient is a gather too, not a scatter-add.

    Right only where rows that ``inverse`` does not name get no gradient, as padding does not.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(inverse)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (inverse,) = ctx.saved_tensors
        return grad.index_select(0, inverse), None, None


def _gather_rows(rows: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
    return cast(Tensor, _GatherRows.apply(rows, index, inverse))


def causal_attention(
    q_BTHK: Float[Tensor, "B T H K"], k_BTGK: Float[Tensor, "B T G K"], v_BTGK: Float[Tensor, "B T G K"]
) -> Float[Tensor, "B T H K"]:
    """Each query attends to its own and all earlier positions of its row; ``H / G`` query heads share a key head."""
    y_BHTK = F.scaled_dot_product_attention(
        q_BTHK.transpose(1, 2),
        k_BTGK.transpose(1, 2),
        v_BTGK.transpose(1, 2),
        is_causal=True,
        enable_gqa=q_BTHK.shape[2] != k_BTGK.shape[2],
    )
    return y_BHTK.transpose(1, 2)


def segment_attention(
    q_NHK: Float[Tensor, "N H K"], k_NGK: Float[Tensor, "N G K"], v_NGK: Float[Tensor, "N G K"], packing: Packing
) -> Float[Tensor, "N H K"]:
    """``causal_attention`` inside each segment of a flat row."""
    into, back = packing.padded_from_flat, packing.flat_from_padded
    rows = (packing.segments, packing.max_len)
    y_BTHK = causal_attention(
        _gather_rows(q_NHK, into, back).unflatten(0, rows),
        _gather_rows(k_NGK, into, back).unflatten(0, rows),
        _gather_rows(v_NGK, into, back).unflatten(0, rows),
    )
    return y_BTHK.flatten(0, 1).index_select(0, back)


def packed_attention(
    q_NHK: Float[Tensor, "N H K"],
    k_NGK: Float[Tensor, "N G K"],
    v_NGK: Float[Tensor, "N G K"],
    cu_seqlens: Int[Tensor, " C"],
    max_len: int,
) -> Float[Tensor, "N H K"]:
    """``segment_attention`` for one call: builds the index tables itself."""
    return segment_attention(q_NHK, k_NGK, v_NGK, pack_segments(cu_seqlens, q_NHK.shape[0], max_len))
