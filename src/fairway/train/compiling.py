"""The compiler in training: its settings, what it took, and steps that had to compile again."""

import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairway.errors import RecipeError
from fairway.runtime.events import EventLog
from fairway.spec.train import TrainSpec

_RECOMPILE_LIMIT = 64
"""Graphs of one function. Loop states, rounded weights and lengths of bounds are more than torch's 8 together."""


class Compiled(NamedTuple):
    """What this process has compiled."""

    seconds: float
    """Tracing, lowering and writing kernels, forward and backward."""
    graphs: int
    cache_hits: int
    """Graphs whose kernels a cache on disk had (``TORCHINDUCTOR_CACHE_DIR``)."""
    cache_misses: int


def pin_compiler(spec: TrainSpec) -> None:
    """Settings that decide what the compiler makes, from the recipe and not from the environment."""
    inductor: Any = importlib.import_module("torch._inductor.config")
    dynamo: Any = importlib.import_module("torch._dynamo.config")
    if hasattr(inductor.triton, "mix_order_reduction"):
        inductor.triton.mix_order_reduction = spec.mix_order_reduction
    elif spec.mix_order_reduction:
        raise RecipeError(f"train.mix_order_reduction: torch {torch.__version__} has none, leave it false")
    dynamo.recompile_limit = max(dynamo.recompile_limit, _RECOMPILE_LIMIT)


def compiled_so_far() -> Compiled:
    """Counted by the compiler itself, from the start of the process."""
    counted: Any = importlib.import_module("torch._dynamo.utils")
    cache = counted.counters["aot_autograd"]
    return Compiled(
        seconds=counted.calculate_time_spent()["total_wall_time"],
        graphs=counted.counters["stats"]["unique_graphs"],
        cache_hits=cache["autograd_cache_hit"],
        cache_misses=cache["autograd_cache_miss"] + cache["autograd_cache_bypass"],
    )


def log_compiled(events: EventLog, event: str, before: Compiled, **where: Any) -> Compiled:
    """Say what was compiled since ``before``, if anything was, and return what there is now."""
    now = compiled_so_far()
    if now.graphs > before.graphs:
        events.emit(
            event,
            **where,
            compile_s=now.seconds - before.seconds,
            graphs=now.graphs - before.graphs,
            cache_hits=now.cache_hits - before.cache_hits,
            cache_misses=now.cache_misses - before.cache_misses,
        )
    return now


def any_length(bounds: Tensor) -> Tensor:
    """The same bounds, of which the compiler shall make one graph for all lengths."""
    dynamo: Any = importlib.import_module("torch._dynamo")
    dynamo.maybe_mark_dynamic(bounds, 0)
    return bounds
