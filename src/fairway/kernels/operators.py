"""Where Triton is, if it is: its language, a decorator for kernels, operators that a compiler leaves whole.

A kernel is read back from its source when it is first launched, so modules of kernels import without Triton, and the
interpreter (``TRITON_INTERPRET=1``) serves tests on a CPU. What a kernel computes, torch computes too: an operator
given tensors of a CPU takes that form, and one given tensors of a GPU without Triton refuses.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fairway.errors import RecipeError


class operand(Any):
    """A parameter of a kernel that each launch gives: a tensor, of which the kernel sees the address, or a number."""

    __triton_builtin__ = True  # Triton lets no other name of a module stand in an annotation


class constexpr(int):
    """A parameter of a kernel that is fixed when it is compiled; Triton knows the annotation by its name alone."""

    __triton_builtin__ = True


def _triton_language() -> Any:
    try:
        import triton.language  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return None
    return triton.language


tl = _triton_language()
"""``triton.language``, or None where Triton is not installed: macOS, Windows, most machines without a GPU."""


class TritonKernel:
    """A kernel that is compiled, or made ready to be interpreted, when it is first launched."""

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = inspect.unwrap(function)
        self._ready: Any = None

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., Any]:
        """The call that launches so many programs, given the kernel's parameters in order."""
        if self._ready is None:
            if tl is None:
                raise RecipeError("the recipe asks for Triton kernels, but the package triton is not installed")
            import triton  # type: ignore[import-not-found,unused-ignore]

            self._ready = triton.jit(self._function)
        return self._ready[grid]


def runs_triton(x: Tensor) -> bool:
    """Whether a kernel is launched for ``x``: on a GPU always, on a CPU where Triton interprets."""
    if x.is_cuda or tl is None:
        return x.is_cuda
    import triton

    return bool(triton.knobs.runtime.interpret)


def fused_operator(
    name: str,
    schema: str,
    function: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    mutates: tuple[str, ...] = (),
    gradient: Callable[..., Any] | None = None,
    save: Callable[[Any, tuple[Any, ...], Any], None] | None = None,
) -> Any:
    """``torch.ops.fairway.<name>``: one node of a traced graph; ``fake`` makes results without values.

    ``save`` is given the context, inputs and results that ``gradient`` will need. The schema is written out, for
    annotations do not survive the bundle. Defining a name again replaces it.
    """
    operator = torch.library.custom_op(f"fairway::{name}", function, mutates_args=mutates, schema=schema)
    operator.register_fake(fake)
    if gradient is not None and save is not None:
        # torch names these three when it calls, whatever a bundle calls the parameters
        operator.register_autograd(
            gradient, setup_context=lambda **given: save(given["ctx"], given["inputs"], given["output"])
        )
    return operator


def block_of(size: int) -> int:
    """The least power of two that is no smaller: Triton's blocks have no other sizes."""
    return 1 << max(size - 1, 0).bit_length()
