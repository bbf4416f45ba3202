"""Byte sidecars that somebody else has written, held against the text (recipes A.5)."""

import torch
from jaxtyping import Int
from torch import Tensor

from fairway.data.caseops import CaseTable
from fairway.errors import DataError
from fairway.spec.data import BOS

_SIDECAR_TOLERANCE = 0.001
"""Of the sum; the published export differs by 4e-5 from what the tokens of another tokenizer tell (recipes A.3)."""


def check_sidecar(bytes_N: Int[Tensor, " M"], tokens_N: Int[Tensor, " N"], table: CaseTable) -> None:
    """Refuse sidecars that cannot be the bytes of the text; ``DataError`` says by how much they are off.

    Exports count the text before the tokenizer normalised it, which tokens do not tell, so sums agree only nearly.
    What is exact: BOS and operators stand for no text. A published script gives most operators three bytes.
    """
    if len(bytes_N) != len(tokens_N):
        raise DataError(f"byte sidecars count {len(bytes_N)} tokens, the validation shards have {len(tokens_N)}")
    told_N = table.of_tokens(tokens_N)
    empty_N = (told_N == 0) & (table.are_operators(tokens_N) | (tokens_N == BOS))
    if wrong := int((bytes_N[empty_N] != 0).sum()):
        raise DataError(f"byte sidecars give {wrong} of {int(empty_N.sum())} BOS and operators bytes, they have none")
    given, told = (int(counts.sum(dtype=torch.float64)) for counts in (bytes_N, told_N))
    if abs(given - told) > _SIDECAR_TOLERANCE * told:
        raise DataError(f"byte sidecars count {given} bytes of text, the decoded tokens have {told}")
