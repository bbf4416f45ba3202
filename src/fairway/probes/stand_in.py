"""A CPU in the place of a graphics card, for scripts that ask for one and would run without.

Where there is a card nothing of this is used. Where there is none, ``torch.cuda`` says that there is one, tensors that
are sent to it stay where they are, and autocast for it is the CPU's: the losses are those of the CPU, and what a
probe asks, which losses move, has the same answer. Kernels that only a card has still end the script.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.overrides import TorchFunctionMode

_NOTHING = (
    *("set_device", "synchronize", "empty_cache", "manual_seed", "manual_seed_all", "seed_all", "init"),
    *("reset_peak_memory_stats", "reset_max_memory_allocated", "set_per_process_memory_fraction"),
)
_NUMBERS = ("max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved", "current_device")


class Cards(TorchFunctionMode):
    """Puts the CPU in the place of every card that a call names."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """The call with other devices."""
        name = getattr(func, "__name__", "")
        if name in ("cuda", "pin_memory"):
            return args[0]
        given = {key: _here(value) for key, value in (kwargs or {}).items() if key != "pin_memory"}
        return func(*(_here(each) for each in args), **given)


class _Event:
    """Two readings of a clock."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self._at = 0.0

    def record(self, stream: object = None) -> None:
        self._at = time.perf_counter()

    def elapsed_time(self, other: "_Event") -> float:
        return 1000.0 * (other._at - self._at)

    def synchronize(self) -> None:
        return

    def query(self) -> bool:
        return True


class _Autocast(torch.autocast):
    """Autocast for a card, on the CPU."""

    def __init__(self, device_type: str = "cuda", *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if device_type.startswith("cuda") else device_type, *args, **kwargs)


def stand_in() -> None:
    """Put the CPU in the place of a card for the rest of this process; ``Cards`` must be entered as well."""
    cuda: Any = torch.cuda
    for name in _NOTHING:
        setattr(cuda, name, _nothing)
    for name in _NUMBERS:
        setattr(cuda, name, _zero)
    cuda.is_available = cuda.is_bf16_supported = lambda *args, **kwargs: True
    cuda.device_count = lambda: 1
    cuda.get_device_name = lambda *args: "a CPU in the place of a card"
    cuda.get_device_capability = lambda *args: (9, 0)
    cuda.get_device_properties = lambda *args: SimpleNamespace(
        name="CPU", total_memory=1 << 36, multi_processor_count=1, major=9, minor=0
    )
    cuda.Event = _Event
    cuda.Stream = lambda *args, **kwargs: SimpleNamespace(wait_stream=_nothing, synchronize=_nothing)
    cuda.current_stream = cuda.Stream
    cuda.stream = lambda stream: nullcontext()
    torch.autocast = torch.amp.autocast = _Autocast  # type: ignore[misc]
    cuda.amp.autocast = lambda *args, **kwargs: _Autocast("cuda", *args, **kwargs)
    _load, _run, _threads = torch.load, subprocess.run, threading.Thread.run

    def load(*args: Any, **kwargs: Any) -> Any:
        return _load(*args, **{**kwargs, "map_location": "cpu"})

    def run(command: Any, *args: Any, **kwargs: Any) -> Any:
        # Published scripts print what nvidia-smi says, whether it succeeds or not.
        if isinstance(command, list | tuple) and command and command[0] == "nvidia-smi":
            return subprocess.CompletedProcess(command, 1, "", "")
        return _run(command, *args, **kwargs)

    def in_thread(self: threading.Thread) -> None:
        with Cards():  # modes hold for the thread that entered them
            _threads(self)

    torch.load, subprocess.run, threading.Thread.run = load, run, in_thread  # type: ignore[assignment,method-assign]
    if "flash_attn_interface" not in sys.modules:
        attention = ModuleType("flash_attn_interface")
        attention.flash_attn_func = _attention  # type: ignore[attr-defined]
        attention.flash_attn_varlen_func = _packed_attention  # type: ignore[attr-defined]
        sys.modules["flash_attn_interface"] = attention


def _attention(q: Tensor, k: Tensor, v: Tensor, causal: bool = False, **options: Any) -> Tensor:
    """FlashAttention's layout, batch, time, heads, channels, with fewer heads of keys than of queries."""
    _refuse(options)
    q, k, v = (part.transpose(1, 2) for part in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True).transpose(1, 2)


def _packed_attention(
    q: Tensor, k: Tensor, v: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, *sizes: Any, **options: Any
) -> Tensor:
    """Segments of one row, each on its own."""
    causal = bool(options.pop("causal", False))
    _refuse({key: value for key, value in options.items() if not key.startswith("max_seqlen")})
    bounds = zip(cu_seqlens_q[:-1].tolist(), cu_seqlens_q[1:].tolist(), strict=True)
    parts = [_attention(q[None, a:b], k[None, a:b], v[None, a:b], causal)[0] for a, b in bounds if a < b]
    return torch.cat(parts)


def _refuse(options: Mapping[str, Any]) -> None:
    """What would change the result and is not known here ends the script."""
    for name, value in options.items():
        if value not in (None, False, 0.0, (-1, -1)):
            raise NotImplementedError(f"flash_attn_interface: {name}={value} is not known without a card")


def _here(value: Any) -> Any:
    if isinstance(value, torch.device) and value.type == "cuda":
        return torch.device("cpu")
    return "cpu" if isinstance(value, str) and value.startswith("cuda") else value


def _nothing(*args: object, **kwargs: object) -> None:
    return


def _zero(*args: object, **kwargs: object) -> int:
    return 0
