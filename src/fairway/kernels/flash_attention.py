"""Attention by the flash kernels: FlashAttention 3, FlashAttention 4, and the one that PyTorch brings along.

Each loader gives a backend, or says why there is none on this device in this dtype.
"""

import importlib
import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fairway.kernels.attention import Attention, Pieces, place_pieces

_Function = Callable[..., Any]


def load_fa3(device: torch.device, dtype: torch.dtype, head_width: int) -> Attention | str:
    """FlashAttention 3 (``flash_attn_interface``, built from the hopper folder of its repository)."""
    if refusal := _unfit(device, dtype, head_width, (9,)):
        return refusal
    try:
        module = importlib.import_module("flash_attn_interface")
    except ImportError as error:
        return f"flash_attn_interface cannot be imported ({error})"
    return fa3_attention(module.flash_attn_func, module.flash_attn_varlen_func, _origin("flash_attn_interface"))


def load_fa4(device: torch.device, dtype: torch.dtype, head_width: int) -> Attention | str:
    """FlashAttention 4 (``flash_attn.cute``) put in the place of PyTorch's own kernel for this process.

    Called by itself, it is opaque to ``torch.compile``; behind PyTorch's operator it is not (torch 2.11 and later).
    """
    if refusal := _unfit(device, dtype, head_width, (9, 10)):
        return refusal
    try:
        importlib.import_module("flash_attn.cute.interface")
        inner = importlib.import_module("torch.nn.attention.varlen")
    except ImportError as error:
        return f"flash_attn.cute cannot be imported ({error})"
    registry: Any = torch.nn.attention
    if not hasattr(registry, "activate_flash_attention_impl"):
        return f"torch {torch.__version__} cannot hand its attention over to another kernel, 2.11 can"
    registry.activate_flash_attention_impl("FA4")
    return bounded_attention("fa4", inner.varlen_attn, _origin("flash_attn"))


def load_varlen(device: torch.device, dtype: torch.dtype, head_width: int) -> Attention | str:
    """PyTorch's own ``varlen_attn`` (FlashAttention 2), torch 2.10 and later."""
    if refusal := _unfit(device, dtype, head_width, (8, 9, 10, 11, 12)):
        return refusal
    try:
        module = importlib.import_module("torch.nn.attention.varlen")
    except ImportError as error:
        return f"torch {torch.__version__} has no variable-length attention ({error})"
    return bounded_attention("varlen", module.varlen_attn, f"torch {torch.__version__}")


def fa3_attention(dense: _Function, varlen: _Function, origin: str) -> Attention:
    """A backend of FlashAttention 3's two functions; older builds return the log-sum-exp beside the output."""

    def dense_rows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return _output(dense(q, k, v, causal=True))

    def packed_rows(q: Tensor, k: Tensor, v: Tensor, pieces: Pieces) -> Tensor:
        return _output(
            varlen(
                q,
                k,
                v,
                cu_seqlens_q=pieces.cu_seqlens,
                cu_seqlens_k=pieces.cu_seqlens,
                max_seqlen_q=pieces.max_len,
                max_seqlen_k=pieces.max_len,
                causal=True,
            )
        )

    return Attention(name="fa3", origin=origin, place=place_pieces, dense=dense_rows, packed=packed_rows)


def bounded_attention(name: str, varlen: _Function, origin: str) -> Attention:
    """A backend of a function that has the parameters of ``varlen_attn``, as any torch from 2.10 on spells them.

    Dense rows are segments of one length.
    """
    keywords = causal_keywords(varlen)

    def packed_rows(q: Tensor, k: Tensor, v: Tensor, pieces: Pieces) -> Tensor:
        bounds, most = pieces.cu_seqlens, pieces.max_len
        return _output(varlen(q, k, v, bounds, bounds, most, most, **keywords))

    def dense_rows(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows, length = q.shape[:2]
        bounds = torch.arange(0, (rows + 1) * length, length, dtype=torch.int32, device=q.device)
        flat = varlen(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), bounds, bounds, length, length, **keywords)
        return _output(flat).unflatten(0, (rows, length))

    return Attention(name=name, origin=origin, place=place_pieces, dense=dense_rows, packed=packed_rows)


def causal_keywords(varlen: _Function) -> dict[str, Any]:
    """How ``varlen_attn`` is asked for causal attention whose query heads share key heads.

    torch 2.10 has ``is_causal``, later ones a window; 2.12 began to refuse unequal numbers of heads without
    ``enable_gqa``.
    """
    known = inspect.signature(varlen).parameters
    causal = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
    return causal | ({"enable_gqa": True} if "enable_gqa" in known else {})


def _output(given: Any) -> Tensor:
    y = given[0] if isinstance(given, tuple) else given
    assert isinstance(y, Tensor)
    return y


def _unfit(device: torch.device, dtype: torch.dtype, head_width: int, majors: tuple[int, ...]) -> str | None:
    """Why a flash kernel for these compute capabilities is none for this device, dtype and width of a head."""
    if device.type != "cuda":
        return f"it needs a CUDA device, this is {device.type}"
    major, minor = torch.cuda.get_device_capability(device)
    if major not in majors:
        return f"it needs compute capability {' or '.join(f'{each}.x' for each in majors)}, this is {major}.{minor}"
    if dtype not in (torch.bfloat16, torch.float16):
        return f"it takes bfloat16 or float16, not {str(dtype).removeprefix('torch.')}"
    if head_width % 8 or head_width > 256:
        return f"it takes heads of a multiple of 8 up to 256 channels, not {head_width}"
    return None


def _origin(module: str) -> str:
    """Distributions that provide a module, with their versions; FlashAttention 3 is built under several names."""
    names = sorted(set(importlib.metadata.packages_distributions().get(module, [])))
    return (
        ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names) or f"{module}, not installed by pip"
    )
