"""Seconds that the rotate_gptq stage's rounding takes for every matrix of a recipe's model, two ways in the same run.

Weights are Gaussian. Hessians are those of inputs that go together and differ in scale, one for each width of inputs.
The work is the stage's: steps, rounding to nearest, GPTQ, both errors, rotation, and all of that again.

``one_by_one`` rounds one matrix after the other with torch on all threads; one matrix of each role is timed and counts
for the role, because on a busy machine all would take minutes. ``batches`` is ``round_in_batches`` over all matrices.
``cpu_s`` is the time of all threads together, which other work on the machine inflates less than ``wall_s``; threads
that wait for each other count in it. ``ratio`` is one by one over batches. ``device`` cuda needs a GPU.

    python benchmarks/quant/gptq.py --recipe baseline --threads 2 -o benchmarks/results/gptq.json
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from fairway.model.banks import unbank
from fairway.model.parameters import neutral_parameters
from fairway.quant.batches import round_in_batches
from fairway.quant.gptq import gptq
from fairway.quant.grid import row_steps
from fairway.quant.plan import Treatment, input_part, plan
from fairway.quant.rotation import bake, bake_hessian, rotations
from fairway.quant.rounding import round_matrix
from fairway.recipes.load import load_recipe
from fairway.runtime.ranks import Ranks
from fairway.spec.quant import Gptq


def hessian(inputs: int, seed: int) -> torch.Tensor:
    """X^T X of 4 x inputs correlated rows, the columns of X of different scale."""
    draws = torch.Generator().manual_seed(seed)
    mix = torch.randn(inputs, inputs, generator=draws) / inputs**0.5
    scale = torch.randn(inputs, generator=draws).mul(0.5).exp()
    x = torch.randn(4 * inputs, inputs, generator=draws) @ (mix + torch.eye(inputs)) * scale
    moments: torch.Tensor = x.T @ x
    return moments


def timed(work: Callable[[], Any], device: torch.device) -> tuple[dict[str, float], Any]:
    """Seconds by the clock and of the processor, and what came out."""
    began, began_cpu = time.perf_counter(), time.process_time()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - began_cpu}, result


def main() -> None:
    """Time both ways and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="baseline")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    recipe = load_recipe(asked.recipe).recipe
    quant = recipe.quant
    assert isinstance(quant.rounding, Gptq), "the recipe must round by GPTQ"
    with torch.device("meta"):
        shapes = {name: w.shape for name, w in unbank(neutral_parameters(recipe.model), recipe.model).items()}
    treatments = [t for t in plan(shapes, quant) if t.grid is not None]
    draws = torch.Generator().manual_seed(1)
    state = {t.name: torch.randn(t.shape, generator=draws) * 0.05 for t in treatments}
    by_width = {width: hessian(width, width) for width in {t.shape[1] for t in treatments}}
    hessians = {t.name: by_width[t.shape[1]] for t in treatments}
    turns = rotations(shapes, quant.rotation)

    def one(treatment: Treatment) -> float:
        name, grid = treatment.name, treatment.grid
        assert grid is not None
        w_OI, h_II = state[name], hessians[name]
        rounded = round_matrix(name, w_OI, h_II, grid, quant)
        turn_II = turns.get(input_part(name) or "")
        if turn_II is not None:
            rounded = round_matrix(name, bake(w_OI, turn_II), bake_hessian(h_II, turn_II), grid, quant)
        return rounded.gptq_over_nearest

    def only_gptq(treatment: Treatment) -> torch.Tensor:
        assert treatment.grid is not None and isinstance(quant.rounding, Gptq)
        w_OI, grid = state[treatment.name], treatment.grid
        return gptq(w_OI, hessians[treatment.name], row_steps(w_OI, grid), grid, quant.rounding)

    load = os.getloadavg()[0]
    cpu = torch.device("cpu")
    ranks = Ranks(rank=0, world=1, device=device)
    roles = {t.role: t for t in treatments}
    with torch.no_grad():
        batches, found = timed(lambda: round_in_batches(ranks, treatments, state, hessians, turns, quant), device)
        rows = {}
        for role, treatment in roles.items():
            count = sum(t.role is role for t in treatments)
            alone, ratio = timed(lambda treatment=treatment: one(treatment), cpu)  # type: ignore[misc]
            core, _ = timed(lambda treatment=treatment: only_gptq(treatment), cpu)  # type: ignore[misc]
            torch.set_num_threads(1)
            single, _ = timed(lambda treatment=treatment: only_gptq(treatment), cpu)  # type: ignore[misc]
            torch.set_num_threads(asked.threads)
            rows[role.value] = {
                "matrices": count,
                "one_by_one": {key: seconds * count for key, seconds in alone.items()},
                "gptq_alone": {key: seconds * count for key, seconds in core.items()},
                "gptq_alone_single_threaded": {key: seconds * count for key, seconds in single.items()},
                "gptq_over_nearest": ratio,
            }
    totals = {
        way: {key: sum(row[way][key] for row in rows.values()) for key in ("wall_s", "cpu_s")}
        for way in ("one_by_one", "gptq_alone", "gptq_alone_single_threaded")
    }
    totals["batches"] = batches
    result = {
        "date": time.strftime("%Y-%m-%d"),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"{platform.machine()}, {os.cpu_count()} cores, {asked.threads} threads",
        "load_average_1min": load,
        "torch": torch.__version__,
        "recipe": asked.recipe,
        "matrices": len(found),
        "seconds": totals,
        "ratio": {key: totals["one_by_one"][key] / batches[key] for key in batches},
        "gptq_over_nearest": max(rounded.gptq_over_nearest for _, rounded in found.values()),
        "by_role": rows,
    }
    asked.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for way, seconds in totals.items():
        sys.stdout.write(f"{way}: {seconds['wall_s']:.1f} s, of the processor {seconds['cpu_s']:.1f} s\n")


if __name__ == "__main__":
    main()
