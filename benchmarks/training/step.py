"""Seconds of a training step of a recipe: all micro-batches forward and backward, reduction, clipping, optimizers.

Before and after the switch to loops, on one process and on documents of made-up tokens, with the losses and the
optimizers that training has. ``flop_per_s`` counts the products of linears and head, forward and backward, and neither
attention nor Newton-Schulz; ``share_of_peak`` holds it against a square product measured in the same run. Peak memory
is the GPU's, or the most that the process ever had. On a CPU that others use too, ``--clock process`` counts processor
seconds instead.

The first steps are not timed: output projections start at zero, and a GPU that multiplies by zeros runs faster.

    python benchmarks/training/step.py --recipe pocket -o benchmarks/results/training_step.json
"""

import argparse
import resource
import statistics
import sys
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from measure import CLOCKS, Row, best_device, device_words, matmul_peak, report, seconds_of  # noqa: E402 - lies beside

from fairway.data.batches import Batch  # noqa: E402
from fairway.data.documents import segment_bounds  # noqa: E402
from fairway.main import compute_dtype  # noqa: E402
from fairway.model.ahead import add_ahead_map  # noqa: E402
from fairway.model.gpt import Gpt  # noqa: E402
from fairway.model.init import initialise  # noqa: E402
from fairway.recipes.load import load_recipe  # noqa: E402
from fairway.runtime.ranks import open_ranks  # noqa: E402
from fairway.runtime.seeding import set_threads  # noqa: E402
from fairway.spec.data import BOS  # noqa: E402
from fairway.spec.mechanisms import Mtp  # noqa: E402
from fairway.spec.recipe import Recipe  # noqa: E402
from fairway.train.loop import _loss_functions  # noqa: E402
from fairway.train.step import Stepper  # noqa: E402

_FLOP_TOKENS = 64
_DOCUMENT_TOKENS = 900
"""About the mean of the published validation set."""

_LINEAR = {torch.ops.aten.mm, torch.ops.aten.addmm}


def micro_batches(recipe: Recipe, device: torch.device) -> list[Batch]:
    """One step's, in the shape that the recipe's loader gives them."""
    spec, draws = recipe.train, torch.Generator().manual_seed(0)
    found = []
    for _ in range(spec.batch_tokens // spec.micro_batch_tokens):
        tokens = torch.randint(BOS + 1, recipe.model.vocab_size, (spec.micro_batch_tokens + 1,), generator=draws)
        tokens[::_DOCUMENT_TOKENS] = BOS
        inputs, targets = tokens[:-1], tokens[1:]
        if spec.batching == "packed":
            batch = Batch(inputs[None], targets[None], segment_bounds(inputs, spec.context))
        else:
            batch = Batch(inputs.view(-1, spec.context), targets.view(-1, spec.context), None)
        found.append(batch.to(device))
    return found


def linear_flop_per_token(model: Gpt, *, looped: bool) -> float:
    """Of products with weights, forward and backward, as the model makes them; attention is left out."""
    row = torch.full((1, _FLOP_TOKENS), BOS + 1, device=next(model.parameters()).device)
    counter = FlopCounterMode(display=False)
    with counter:
        model.loss(row, row, looped=looped, cu_seqlens=None, max_len=_FLOP_TOKENS).backward()
    for parameter in model.parameters():
        parameter.grad = None
    counts = counter.get_flop_counts()["Global"]
    return sum(count for op, count in counts.items() if op in _LINEAR) / _FLOP_TOKENS


def measured(recipe: Recipe, device: torch.device, *, steps: int, warm_up: int, clock: str) -> list[Row]:
    """A row for each state of the loops that the recipe's training has."""
    dtype = compute_dtype(device)
    peak = matmul_peak(device, dtype, clock=clock)
    model = Gpt(recipe.model, dtype=dtype)
    initialise(model, 0)
    if isinstance(recipe.model.mtp, Mtp):
        add_ahead_map(model, recipe.model)
    model.to(device)
    losses = _loss_functions(model, recipe.train, recipe.model.loops)
    flop = {state: linear_flop_per_token(model, looped=bool(state)) for state in losses}
    stepper = Stepper(model, recipe.optim, open_ranks(alone=True))
    batches = micro_batches(recipe, device)
    rows: list[Row] = []
    for state, loss_fn in losses.items():

        def step() -> None:
            # The least rate: what is measured does not depend on it, and random targets must not blow the weights up.
            stepper.step(loss_fn, batches, lr_scale=0.01, momentum_step=0)  # noqa: B023 - called in this turn

        seconds_of(step, device, repeat=1, warm_up=warm_up)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        seconds = statistics.median(times := seconds_of(step, device, repeat=steps, warm_up=0, clock=clock))
        rate = recipe.train.batch_tokens * flop[state] / seconds
        rows.append(
            {
                "what": "after the loop switch" if state else "before the loop switch",
                "seconds": seconds,
                "ratio": seconds / rows[0]["seconds"] if rows else 1.0,
                "least_s": min(times),
                "most_s": max(times),
                "tokens_per_s": recipe.train.batch_tokens / seconds,
                "flop_per_s": rate,
                "share_of_peak": rate / peak,
                "peak_bytes": torch.cuda.max_memory_allocated(device)
                if device.type == "cuda"
                else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            }
        )
    return [*rows, {"what": f"square product, {dtype}".replace("torch.", ""), "flop_per_s": peak}]


def main() -> None:
    """Time the steps and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="pocket")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--warm-up", type=int, default=100)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="of a CPU; a GPU has its own")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    recipe, device = load_recipe(asked.recipe).recipe, best_device()
    threads = set_threads(recipe.train.threads)
    rows = measured(recipe, device, steps=asked.steps, warm_up=asked.warm_up, clock=asked.clock)
    told = {"recipe": asked.recipe, "batch_tokens": recipe.train.batch_tokens, "steps": asked.steps}
    told |= {"clock": asked.clock if device.type == "cpu" else "events"}
    report(
        "training step", rows, device_words(device, threads), unit="seconds a step, median", output=asked.output, **told
    )


if __name__ == "__main__":
    main()
