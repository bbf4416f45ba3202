"""Documents inside a flat stream of tokens: each begins with BOS, none ends with a token of its own (recipes A.2)."""

import torch
from jaxtyping import Int, Int32, Int64
from torch import Tensor

from fairway.errors import DataError
from fairway.spec.data import BOS

_SEGMENT_BOUNDS_MULTIPLE = 64


def document_starts(tokens_N: Int[Tensor, " N"], bos: int = BOS) -> Int64[Tensor, " M"]:
    """Positions of all BOS tokens, ascending."""
    return (tokens_N == bos).nonzero().flatten()


def document_lengths(tokens_N: Int[Tensor, " N"], bos: int = BOS) -> list[int]:
    """Tokens of each document, BOS included; they add up to ``N``.

    ``DataError`` if the stream does not begin with a document.
    """
    starts = document_starts(tokens_N, bos)
    if len(starts) == 0 or int(starts[0]) != 0:
        raise DataError(f"a stream of documents begins with BOS (id {bos}), this one with {tokens_N[:1].tolist()}")
    end = torch.tensor([len(tokens_N)], device=tokens_N.device)
    lengths: list[int] = torch.diff(starts, append=end).tolist()
    return lengths


def segment_bounds(tokens_N: Int[Tensor, " N"], max_len: int, bos: int = BOS) -> Int32[Tensor, " M"]:
    """Bounds of the pieces a packed row falls into, for variable-length attention (recipes A.6.4).

    A piece begins at position 0, at every BOS, and every ``max_len`` tokens within a document; the last bound is
    ``N``, repeated until the number of bounds is a multiple of 64, so that a compiler sees few shapes.
    """
    total = len(tokens_N)
    assert total > 0 and max_len > 0, (total, max_len)
    starts = document_starts(tokens_N, bos)
    edges = torch.cat([starts.new_zeros(1), starts[starts > 0], starts.new_tensor([total])])
    pieces = (edges.diff() + max_len - 1) // max_len
    before = pieces.cumsum(0) - pieces
    piece_in_document = torch.arange(int(pieces.sum()), device=starts.device) - before.repeat_interleave(pieces)
    bounds = edges[:-1].repeat_interleave(pieces) + piece_in_document * max_len
    padding = _SEGMENT_BOUNDS_MULTIPLE - len(bounds) % _SEGMENT_BOUNDS_MULTIPLE
    return torch.cat([bounds, bounds.new_full((padding,), total)]).to(torch.int32)
