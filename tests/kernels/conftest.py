"""Kernels in both forms: torch's, and Triton's on a GPU or, where there is none, in its interpreter."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

TOLERANCE = {torch.float32: 3e-6, torch.bfloat16: 1.2e-2}
"""Of the norm of a difference over the norm of what is right; the interpreter cuts bfloat16 where a GPU rounds."""

Function = Callable[..., Tensor | tuple[Tensor, ...]]


def mend_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mend the interpreter's product of bfloat16, which Triton 3.7 computes on the bits."""
    np = pytest.importorskip("numpy")
    tl = pytest.importorskip("triton.language")
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    product = interpreter.InterpreterBuilder.create_dot

    def widened(handle):
        if handle.dtype.scalar != tl.bfloat16:
            return handle
        return interpreter.TensorHandle((handle.data.astype(np.uint32) << 16).view(np.float32), tl.float32)

    def create_dot(self, a, b, *others):
        return product(self, widened(a), widened(b), *others)

    monkeypatch.setattr(interpreter.InterpreterBuilder, "create_dot", create_dot)


@pytest.fixture(params=["torch", "triton"])
def form_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Device on which operators take one form or the other."""
    if request.param == "torch":
        monkeypatch.delenv("TRITON_INTERPRET", raising=False)
        return "cpu"
    pytest.importorskip("triton", reason="Triton is not installed")
    if torch.cuda.is_available():
        return "cuda"
    mend_interpreter(monkeypatch)
    return "cpu"


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def hold_against(form_device: str, dtype: torch.dtype) -> Callable[[Function, Function, Sequence[Tensor]], None]:
    """Compares results and all gradients of a function with those of a formula in float64."""

    def run(function: Function, inputs: Sequence[Tensor]) -> list[Tensor]:
        leaves = [each.clone().requires_grad_(each.is_floating_point()) for each in inputs]
        results = function(*leaves)
        results = results if isinstance(results, tuple) else (results,)
        generator = torch.Generator().manual_seed(3)
        pulls = [torch.randn(each.shape, generator=generator).to(each) for each in results]
        sum((each * pull).sum() for each, pull in zip(results, pulls, strict=True)).backward()
        return [
            each.detach().double().cpu() for each in (*results, *(leaf.grad for leaf in leaves if leaf.requires_grad))
        ]

    def compare(function: Function, formula: Function, inputs: Sequence[Tensor]) -> None:
        rounded = [each.to(dtype) if each.is_floating_point() else each for each in inputs]
        found = run(function, [each.to(form_device) for each in rounded])
        right = run(formula, [each.double() if each.is_floating_point() else each for each in rounded])
        assert len(found) == len(right)
        errors = [float((a - b).norm() / b.norm()) for a, b in zip(found, right, strict=True)]
        assert all(error < TOLERANCE[dtype] for error in errors), errors

    return compare


@pytest.fixture
def normal() -> Callable[..., Tensor]:
    """Normal numbers, other ones at each call, the same in each test."""
    generator = torch.Generator().manual_seed(11)
    return lambda *shape: torch.randn(*shape, generator=generator)
