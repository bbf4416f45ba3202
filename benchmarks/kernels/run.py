"""Time each Triton kernel against its torch twin, eager and compiled, on one GPU, forward and backward.

``python benchmarks/kernels/run.py [--rounds N] [--compare NAME ...]`` at the sizes of the full recipes: 98,304 tokens
of width 512. In every round the three forms run one after the other, so that a clock that drifts hits all alike; what
is told is the median over rounds by CUDA events, and each round's ratio to the compiled twin, as a median too. Results
go to ``benchmarks/results/kernels-<date>.{json,md}`` with device and versions. Without a GPU the exit status is 3.

A kernel that wins here alone may lose in a step, where the compiler fuses its neighbours: a step decides (performance
notes 2.E).
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fairway.kernels.channel_sum import channel_sum
from fairway.kernels.exclusive import exclude_self
from fairway.kernels.fused_ce import head_ce
from fairway.kernels.fused_exclusive import fused_exclude_self
from fairway.kernels.fused_heads import fused_rotary_heads
from fairway.kernels.fused_junction import mix_norm
from fairway.kernels.fused_lanes import lanes_norm
from fairway.kernels.fused_mlp import fused_mlp
from fairway.kernels.leaky_square import leaky_square
from fairway.kernels.norms import scaled_rms_norm
from fairway.kernels.polar import POLAR_EXPRESS, orthogonalize
from fairway.kernels.rotary_heads import rotary_heads
from fairway.kernels.softcap_ce import softcap_ce
from fairway.kernels.symmetric import orthogonalize_symmetric

NO_GPU = 3
TOKENS, WIDTH, HEADS, GROUPS, MLP, VOCAB, ROPE = 98_304, 512, 8, 4, 2048, 8192, 16
RESULTS = Path(__file__).resolve().parents[1] / "results"
Form = Callable[..., Any]


def lanes_twin(p: Tensor, q: Tensor, a: Tensor, m: Tensor, skip: Tensor, x0: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """Every sum and norm by itself, as the model has them without kernels."""
    w = w.to(p.dtype)
    left = channel_sum((p, w[0]), (a, w[1]), (m, w[2]), (skip, w[3]))
    right = channel_sum((q, w[4]), (a, w[5]), (m, w[6]))
    return left, right, scaled_rms_norm(channel_sum((left, w[7]), (x0, w[8])), 0.5), scaled_rms_norm(right, 0.5)


def mix_twin(x: Tensor, v: Tensor, s: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """A sum, then its norm."""
    y = channel_sum((x, v), (s, w))
    return y, scaled_rms_norm(y, 0.5)


def cases() -> dict[str, tuple[Form, Form, Callable[[], list[Tensor]]]]:
    """Kernel, twin, and what makes their inputs."""

    def normal(*shape: int, dtype: torch.dtype = torch.bfloat16, grad: bool = True) -> Tensor:
        return torch.randn(*shape, device="cuda", dtype=dtype).requires_grad_(grad)

    def stream() -> Tensor:
        return normal(1, TOKENS, WIDTH)

    size, half = WIDTH // HEADS, ROPE // 2
    angles = torch.randn(TOKENS, 1, half, device="cuda")
    cos, sin = angles.cos().bfloat16(), angles.sin().bfloat16()
    targets = torch.randint(0, VOCAB, (TOKENS,), device="cuda")
    return {
        "mlp": (
            lambda x, up, down: fused_mlp(x, up, down, 0.5),
            lambda x, up, down: F.linear(leaky_square(F.linear(x, up), 0.5), down),
            lambda: [stream(), normal(MLP, WIDTH), normal(WIDTH, MLP)],
        ),
        "head": (
            lambda x, e: head_ce(x, e, targets, 30.0),
            lambda x, e: softcap_ce(F.linear(x, e).float(), targets, 30.0),
            lambda: [normal(TOKENS, WIDTH), normal(VOCAB, WIDTH)],
        ),
        "rotary": (
            lambda x, gain: fused_rotary_heads(x, gain, cos, sin),
            lambda x, gain: rotary_heads(x, gain, cos, sin),
            lambda: [normal(1, TOKENS, HEADS, size), normal(HEADS)],
        ),
        "exclusive": (
            fused_exclude_self,
            lambda y, v, gate: exclude_self(y, v) * torch.sigmoid(gate)[..., None],
            lambda: [normal(1, TOKENS, HEADS, size), normal(1, TOKENS, GROUPS, size), normal(1, TOKENS, HEADS)],
        ),
        "mix": (
            lambda *given: mix_norm(*given, 0.5),
            mix_twin,
            lambda: [stream(), normal(WIDTH), stream(), normal(WIDTH)],
        ),
        "lanes": (
            lambda *given: tuple(lanes_norm(*given, 0.5)),
            lanes_twin,
            lambda: [*(stream() for _ in range(6)), normal(9, WIDTH, dtype=torch.float32)],
        ),
        "polar": (
            lambda x: orthogonalize_symmetric(x, POLAR_EXPRESS),
            lambda x: orthogonalize(x, POLAR_EXPRESS),
            lambda: [normal(11, MLP, WIDTH, dtype=torch.float32, grad=False)],
        ),
    }


def milliseconds(work: Callable[[], object]) -> float:
    """Of one call, by events around it."""
    start, stop = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    work()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop)


def passes(form: Form, inputs: Sequence[Tensor]) -> Callable[[], None]:
    """Forward, and backward where the inputs have gradients."""
    differentiable = [each for each in inputs if each.requires_grad]
    with torch.no_grad():
        results = form(*inputs)
    pulls = [torch.randn_like(each) for each in (results if isinstance(results, tuple) else (results,))]

    def work() -> None:
        found = form(*inputs)
        if differentiable:
            torch.autograd.grad(found if isinstance(found, tuple) else (found,), differentiable, pulls)

    return work


def measure(name: str, rounds: int) -> dict[str, object]:
    """Medians of three forms, and how far the kernel's results lie from the twin's."""
    kernel, twin, make = cases()[name]
    inputs = make()
    torch.compiler.reset()
    compiled = torch.compile(twin, fullgraph=True, dynamic=False)
    forms = {"kernel": kernel, "eager": twin, "compiled": compiled}
    runs = {key: passes(form, inputs) for key, form in forms.items()}
    with torch.no_grad():
        a, b = kernel(*inputs), twin(*inputs)
    pairs = zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]
    apart = max(float((x.float() - y.float()).norm() / y.float().norm()) for x, y in pairs)
    for run in runs.values():
        for _ in range(10):
            run()
    times: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, run in runs.items():
            times[key].append(milliseconds(run))
    ratios = {
        key: statistics.median(x / y for x, y in zip(times["kernel"], times[key], strict=True))
        for key in ("eager", "compiled")
    }
    medians = {f"{key}_ms": statistics.median(each) for key, each in times.items()}
    return {"name": name, **medians, **{f"of_{key}": ratio for key, ratio in ratios.items()}, "relative_error": apart}


def table(facts: dict[str, object], rows: Sequence[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "# Triton kernels against their torch twins",
        "",
        ", ".join(f"{key} {value}" for key, value in facts.items()),
        "",
        "| kernel | ms | eager ms | compiled ms | of eager | of compiled | relative error |",
        "| --- | --: | --: | --: | --: | --: | --: |",
    ]
    lines += [
        f"| {row['name']} | {row['kernel_ms']:.3f} | {row['eager_ms']:.3f} | {row['compiled_ms']:.3f}"
        f" | {row['of_eager']:.2f} | {row['of_compiled']:.2f} | {row['relative_error']:.1e} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Measure what is asked for; 3 where there is no GPU."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--compare", nargs="+", metavar="NAME", help="mlp head rotary exclusive mix lanes polar")
    asked = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("benchmarks/kernels needs a GPU: its times are of CUDA events, and there is none here", file=sys.stderr)
        return NO_GPU
    import triton

    known = list(cases())
    names = asked.compare or known
    if unknown := [name for name in names if name not in known]:
        print(f"--compare takes {', '.join(known)}, got {', '.join(unknown)}", file=sys.stderr)
        return 2
    rows = []
    for name in names:
        rows.append(measure(name, asked.rounds))
        print(json.dumps(rows[-1]), flush=True)
    date = datetime.now(UTC).strftime("%Y-%m-%d")
    facts: dict[str, object] = {
        "date": date,
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "tokens": TOKENS,
        "rounds": asked.rounds,
    }
    text = table(facts, rows)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"kernels-{date}.json").write_text(
        json.dumps({**facts, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )
    (RESULTS / f"kernels-{date}.md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
