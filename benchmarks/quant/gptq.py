"""Seconds that GPTQ takes for every matrix of a recipe's model, on this machine's CPU.

Weights are Gaussian. Hessians are those of inputs that go together and differ in scale, one for each width of inputs.
``gptq_s`` is GPTQ alone; ``stage_s`` what the rotate_gptq stage does with a matrix: steps, rounding to nearest with
its error, GPTQ with its error. ``cpu_s`` is the time of all threads together, which other work on the machine does
not inflate as it does the others.

    python benchmarks/quant/gptq.py --recipe baseline --threads 2 -o benchmarks/results/gptq.json
"""

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path

import torch

from fairway.model.banks import unbank
from fairway.model.parameters import neutral_parameters
from fairway.quant.gptq import gptq
from fairway.quant.grid import row_steps
from fairway.quant.rounding import round_matrix
from fairway.quant.plan import plan
from fairway.recipes.load import load_recipe
from fairway.spec.quant import Gptq

_COLUMNS = ("matrices", "gptq_s", "gptq_cpu_s", "stage_s", "ratio")


def hessian(inputs: int, seed: int) -> torch.Tensor:
    """X^T X of 4 x inputs correlated rows, the columns of X of different scale."""
    draws = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=draws) / inputs**0.5
    scale = torch.randn(inputs, generator=draws).mul(0.5).exp()
    x = torch.randn(4 * inputs, inputs, generator=draws) @ (mix + torch.eye(inputs)) * scale
    moments: torch.Tensor = x.T @ x
    return moments


def main() -> None:
    """Time each matrix and write the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="baseline")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    recipe = load_recipe(asked.recipe).recipe
    assert isinstance(recipe.quant.rounding, Gptq), "the recipe must round by GPTQ"
    with torch.device("meta"):
        state = unbank(neutral_parameters(recipe.model), recipe.model)
    treatments = [t for t in plan({name: w.shape for name, w in state.items()}, recipe.quant) if t.grid is not None]
    hessians = {width: hessian(width, width) for width in {t.shape[1] for t in treatments}}
    rows: dict[str, dict[str, float]] = {}
    with torch.no_grad():
        for treatment in treatments:
            assert treatment.grid is not None
            w_OI = torch.randn(treatment.shape, generator=torch.Generator().manual_seed(1)) * 0.05
            h_II = hessians[treatment.shape[1]]
            began, began_cpu = time.perf_counter(), time.process_time()
            gptq(w_OI, h_II, row_steps(w_OI, treatment.grid), treatment.grid.bits, recipe.quant.rounding)
            between, between_cpu = time.perf_counter(), time.process_time()
            rounded = round_matrix(treatment.name, w_OI, h_II, treatment.grid, recipe.quant)
            row = rows.setdefault(treatment.role.value, dict.fromkeys(_COLUMNS, 0.0))
            row["matrices"] += 1
            row["gptq_s"] += between - began
            row["gptq_cpu_s"] += between_cpu - began_cpu
            row["stage_s"] += time.perf_counter() - between
            row["ratio"] = max(row["ratio"], rounded.gptq_over_nearest)
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": f"{platform.machine()}, {os.cpu_count()} cores, {asked.threads} threads",
        "load_average_1min": os.getloadavg()[0],
        "torch": torch.__version__,
        "recipe": asked.recipe,
        "by_role": rows,
        "matrices": sum(row["matrices"] for row in rows.values()),
        "gptq_cpu_s": sum(row["gptq_cpu_s"] for row in rows.values()),
        "gptq_s": sum(row["gptq_s"] for row in rows.values()),
        "stage_s": sum(row["stage_s"] for row in rows.values()),
    }
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{result['matrices']} matrices: GPTQ {result['gptq_s']:.1f} s, stage {result['stage_s']:.1f} s\n")


if __name__ == "__main__":
    main()
