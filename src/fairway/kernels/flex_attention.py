"""Attention by FlexAttention, under a block mask of causal documents."""

import importlib
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from fairway.kernels.attention import Attention, Pieces, place_pieces
from fairway.kernels.varlen_attention import causal_attention

_MASK_BLOCK = 128


def load_flex(device: torch.device, dtype: torch.dtype, head_width: int) -> Attention | str:
    """FlexAttention, fused by the compiler wherever it is called; it has no gradient on a CPU."""
    if device.type != "cuda":
        return f"its gradient needs a CUDA device, this is {device.type}"
    if head_width & (head_width - 1) or head_width < 16:
        return f"it takes heads of a power of two of at least 16 channels, not {head_width}"
    module = importlib.import_module("torch.nn.attention.flex_attention")
    return flex_attention_of(module, torch.compile(module.flex_attention))


def flex_attention_of(module: Any, outside: Callable[..., Any]) -> Attention:
    """A backend of PyTorch's module; ``outside`` is called where no compiler is at work already.

    Without one, FlexAttention computes all scores of the flat row, which only tests can afford.
    """

    def place(cu_seqlens: Tensor, tokens: int, max_len: int) -> Pieces:
        pieces = place_pieces(cu_seqlens, tokens, max_len)
        return pieces._replace(block_mask=document_mask(pieces.cu_seqlens, tokens, module.BlockMask))

    def packed_rows(q: Tensor, k: Tensor, v: Tensor, pieces: Pieces) -> Tensor:
        attend = module.flex_attention if torch.compiler.is_compiling() else outside
        rows = [x.transpose(0, 1)[None] for x in (q, k, v)]
        y: Tensor = attend(*rows, block_mask=pieces.block_mask, enable_gqa=q.shape[1] != k.shape[1])
        return y[0].transpose(0, 1)

    return Attention(
        name="flex", origin=f"torch {torch.__version__}", place=place, dense=causal_attention, packed=packed_rows
    )


def document_mask(cu_seqlens: Int[Tensor, " C"], tokens: int, block_mask: Any) -> Any:
    """The ``BlockMask`` of causal attention inside segments, from bounds alone: no mask of all pairs is made.

    Segments are contiguous, so a block of queries meets a block of keys before it where the last segment of the
    keys is not before the first of the queries, and meets it whole where both are one segment.
    """
    device = cu_seqlens.device
    flat = torch.arange(tokens, device=device, dtype=torch.int32)
    segment = torch.searchsorted(cu_seqlens, flat, right=True)
    blocks = torch.arange(-(-tokens // _MASK_BLOCK), device=device)
    first, last = segment[::_MASK_BLOCK], segment[((blocks + 1) * _MASK_BLOCK - 1).clamp_max(tokens - 1)]
    meets = (blocks[:, None] >= blocks) & (last >= first[:, None])
    whole = (blocks[:, None] > blocks) & (first == last[:, None])

    return block_mask.from_kv_blocks(
        *_listed(meets & ~whole),
        *_listed(whole),
        BLOCK_SIZE=_MASK_BLOCK,
        mask_mod=lambda batch, head, query, key: (query >= key) & (segment[query] == segment[key]),
        seq_lengths=(tokens, tokens),
    )


def _listed(mask_QK: Bool[Tensor, "Q K"]) -> tuple[Tensor, Tensor]:
    """Of each row, how many entries are set, and their places before all others."""
    places = mask_QK.to(torch.int8).sort(dim=-1, descending=True, stable=True).indices
    return mask_QK.sum(-1, dtype=torch.int32)[None, None], places.to(torch.int32)[None, None]
