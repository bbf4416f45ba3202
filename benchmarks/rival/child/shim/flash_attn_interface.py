"""The two functions that published scripts call of FlashAttention 3, by PyTorch's own attention.

On ``PYTHONPATH`` of both sides where FlashAttention is not installed, so that neither has an advantage of it. Heads lie
before channels, ``(B, T, H, D)`` or ``(T, H, D)``; fewer heads of K and V than of Q are shared among those.
"""

import inspect

import torch
import torch.nn.functional as F
from torch import Tensor


def flash_attn_func(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, **unused: object) -> Tensor:
    """Attention of each row over itself, ``(B, T, H, D)``."""
    _refuse(unused)
    rows = (part.transpose(1, 2) for part in (q, k, v))
    return F.scaled_dot_product_attention(*rows, is_causal=causal, enable_gqa=True).transpose(1, 2)


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    **unused: object,
) -> Tensor:
    """Attention inside segments of one long row, ``(T, H, D)``; segments may be empty."""
    _refuse(unused)
    if q.is_cuda:
        return _varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, causal, window_size)
    if tuple(window_size) != (-1, -1):
        raise NotImplementedError(f"no window of {window_size} without a GPU")
    parts = []
    starts, ends = cu_seqlens_q[:-1].tolist(), cu_seqlens_q[1:].tolist()
    for begin, end in zip(starts, ends, strict=True):
        if begin < end:
            row = (part[None, begin:end] for part in (q, k, v))
            parts.append(flash_attn_func(*row, causal=causal)[0])
    return torch.cat(parts)


def _varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    bounds_q: Tensor,
    bounds_k: Tensor,
    most_q: int,
    most_k: int,
    causal: bool,
    window: tuple[int, int],
) -> Tensor:
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    options: dict[str, object] = {}
    if "window_size" in known:
        options["window_size"] = (window[0], 0) if causal else tuple(window)
    elif "is_causal" in known and tuple(window) == (-1, -1):
        options["is_causal"] = causal
    else:
        raise NotImplementedError(f"varlen_attn of torch {torch.__version__} has no window")
    if "enable_gqa" in known:
        options["enable_gqa"] = q.shape[1] != k.shape[1]
    found: Tensor = varlen_attn(q, k, v, bounds_q, bounds_k, most_q, most_k, **options)
    return found


def _refuse(unused: dict[str, object]) -> None:
    given = {name: value for name, value in unused.items() if value is not None and value is not False}
    if given:
        raise NotImplementedError(f"the shim does not know {', '.join(sorted(given))}")
