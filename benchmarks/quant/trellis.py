"""What a trellis gains and costs: decibels to the Gaussian bound, bits at equal entropy, seconds to round and to read.

``gain`` rounds independent Gaussian weights, scalar and along paths of each number of states, at half the scalar step:
distance of the squared error from 2**(-2 H), H being the entropy of a symbol (whose parity is known, on a path); bits
are decibels over 6.02. Paths run down 256 rows, or ``_whole`` 4,096; ``gained_bits`` is against scalar rounding.

``encode`` is GPTQ with paths for every matrix of a recipe's model, as the rotate_gptq stage does it once (the stage
rounds a second time, unrotated, for comparison, where the recipe rotates). With ``--share`` below 1 only the first
columns of each matrix are rounded and the time is scaled up, because on a busy machine all would take long.
``write`` and ``read`` are the streams of paths of that model, Gaussian symbols, on the CPU. Seconds are of the clock
and of the processor (all threads together), which other work on the machine inflates less. On a GPU each batch is
rounded whole, after a first column of each, at which kernels are compiled; the clock is read once the GPU is done.

    python benchmarks/quant/trellis.py --recipe baseline --states 64 --threads 2 -o benchmarks/results/trellis.json
    python benchmarks/quant/trellis.py --recipe spinquant-mpsgd --engine triton --device cuda
"""

import argparse
import math
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from measure import Row, device_words, report

from fairway.model.banks import unbank
from fairway.model.parameters import neutral_parameters
from fairway.quant.batches import stacked
from fairway.quant.gptq import gptq_batch
from fairway.quant.grid import row_steps
from fairway.quant.plan import plan
from fairway.quant.trellis import best_path
from fairway.quant.trellis_codec import trellis_decoded, trellis_encoded
from fairway.recipes.load import load_recipe
from fairway.spec.quant import TRELLIS_STATES, Gptq, QuantSpec, TrellisGrid

SCALAR_STEP = 0.36
"""Of unit variance: 3.53 bits, about the rate of the records' grids."""


CPU = torch.device("cpu")
ENGINES = {"cpu": ("torch", "compiled"), "cuda": ("torch", "triton")}
"""Those that a device has."""


def entropy(symbols: torch.Tensor) -> float:
    """Bits of a symbol."""
    counts = symbols.flatten().long().add(128).bincount().double()
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * shares.log2()).sum())


def path_entropy(symbols: torch.Tensor) -> float:
    """Bits of a symbol whose parity is known."""
    odd = (symbols & 1).bool()
    return sum(entropy(symbols[which]) * float(which.float().mean()) for which in (odd, ~odd))


def decibels(w: torch.Tensor, rounded: torch.Tensor, bits: float) -> float:
    """Distance from the bound, of unit variance."""
    return 10 * math.log10(float((w - rounded).double().square().mean()) * 4**bits)


def gains(states: list[int], columns: int) -> list[Row]:
    """One row a number of states; paths of 256 rows, and of all."""
    w = torch.randn(4096, columns, generator=torch.Generator().manual_seed(0))
    symbols = (w / SCALAR_STEP).round()
    bits = entropy(symbols)
    scalar = decibels(w, symbols * SCALAR_STEP, bits)
    rows: list[Row] = [{"what": "scalar", "bits": bits, "decibels": scalar, "gained_bits": 0.0}]
    step = SCALAR_STEP / 2
    for count in states:
        row: Row = {"what": f"{count} states"}
        for suffix, length in (("", 256), ("_whole", 4096)):
            target = (w / step).view(4096 // length, length, columns).transpose(0, 1).reshape(length, -1)
            found = torch.cat([best_path(t, torch.ones_like(t), count, 7) for t in torch.split(target, 1024, dim=1)], 1)
            bits = path_entropy(found)
            away = decibels(target * step, found * step, bits)
            gained = (scalar - away) * math.log2(10) / 20
            row |= {f"bits{suffix}": bits, f"decibels{suffix}": away, f"gained_bits{suffix}": gained}
        rows.append(row)
    return rows


def timed(work: Callable[[], Any], device: torch.device = CPU) -> tuple[dict[str, float], Any]:
    """Seconds of the clock and of the processor, and what came out."""
    settle(device)
    began, began_cpu = time.perf_counter(), time.process_time()
    result = work()
    settle(device)
    return {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - began_cpu}, result


def settle(device: torch.device) -> None:
    """Wait for what a GPU was given to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def hessian(inputs: int) -> torch.Tensor:
    """X^T X of correlated inputs that differ in scale."""
    draws = torch.Generator().manual_seed(inputs)
    mix = torch.randn(inputs, inputs, generator=draws) / inputs**0.5 + torch.eye(inputs)
    x = torch.randn(4 * inputs, inputs, generator=draws) @ mix * torch.randn(inputs, generator=draws).mul(0.5).exp()
    moments: torch.Tensor = x.T @ x
    return moments


def stage(
    name: str,
    states: int,
    engine: Literal["torch", "compiled", "triton"],
    device: torch.device,
    threads: int,
    share: float,
) -> list[Row]:
    """Rounding, writing and reading of a recipe's matrices; threads of a CPU take batches, and halves of batches."""
    recipe = load_recipe(name).recipe
    grid = TrellisGrid(bits=7, clip_sigmas=13.0, states=states, engine=engine)
    quant = QuantSpec(attention=grid, mlp=grid, embedding=grid, codec="range")
    with torch.device("meta"):
        shapes = {key: w.shape for key, w in unbank(neutral_parameters(recipe.model), recipe.model).items()}
    treatments = [t for t in plan(shapes, quant) if t.grid is not None]
    moments = {width: hessian(width).to(device) for width in {t.shape[1] for t in treatments}}
    batches = stacked(treatments, {t.name: moments[t.shape[1]] for t in treatments})
    takers = threads if device.type == "cpu" else 1
    parts = [part for batch in batches for first in range(takers) if (part := batch[first::takers])]
    draws = torch.Generator().manual_seed(1)
    weights = [
        torch.randn(len(p), sum(t.shape[0] for t in p[0]), p[0][0].shape[1], generator=draws).to(device) for p in parts
    ]

    def work(place: int, columns: int) -> None:
        part, w_LOI = parts[place], weights[place]
        h_LII = moments[w_LOI.shape[2]][:columns, :columns].expand(len(part), columns, columns)
        step_LO = torch.stack([row_steps(w_OI, grid) for w_OI in w_LOI])
        names, rows = [stack[0].name for stack in part], [t.shape[0] for t in part[0]]
        gptq_batch(w_LOI[:, :, :columns], h_LII, step_LO, grid, Gptq(), names, rows)

    def rounding() -> None:
        with ThreadPoolExecutor(takers) as pool:
            list(pool.map(work, range(len(parts)), [max(1, round(share * w.shape[2])) for w in weights]))

    torch.set_num_threads(1)
    if device.type == "cuda":
        for place in range(len(parts)):
            work(place, 1)
    encode, _ = timed(rounding, device)
    rows: list[Row] = [
        {"what": f"encode, {states} states, {engine}", **{key: value / share for key, value in encode.items()}}
    ]
    count = sum(w.numel() for w in weights)
    streams = [((rows_, columns), symbols(rows_, columns, states)) for rows_, columns in {t.shape for t in treatments}]
    written: dict[str, list[dict[str, float]]] = {}
    for shape, raw in streams:
        number = sum(t.shape == shape for t in treatments)
        held = [shape] * number
        times, payload = timed(lambda raw=raw, held=held: trellis_encoded(raw * len(held), held, states, 256))  # type: ignore[misc]
        again, back = timed(lambda payload=payload, held=held: trellis_decoded(quant, payload, held))  # type: ignore[misc]
        assert back == raw * number
        for what, seconds in (("write", times), ("read", again)):
            written.setdefault(what, []).append(seconds)
    for what, each in written.items():
        rows.append({"what": what, **{key: sum(one[key] for one in each) for key in each[0]}})
    return [{**row, "weights": count, "ns_a_weight": 1e9 * row["cpu_seconds"] / count} for row in rows]


def symbols(rows: int, columns: int, states: int) -> bytes:
    """One matrix of paths as it lies in its stream."""
    target = torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows + columns)) * 5
    found = [
        torch.cat([best_path(t, torch.ones_like(t), states, 7) for t in torch.split(piece, 1024, dim=1)], 1)
        for piece in target.split(256)
    ]
    return torch.cat(found).T.contiguous().numpy().tobytes()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="baseline")
    parser.add_argument("--states", type=int, nargs="*", default=[64], choices=TRELLIS_STATES, help="that are timed")
    parser.add_argument(
        "--engine", nargs="*", choices=("torch", "compiled", "triton"), help="default: the device's two"
    )
    parser.add_argument("--device", default="cpu", choices=sorted(ENGINES), help="that rounds")
    parser.add_argument("--columns", type=int, default=256, help="of Gaussian weights, 4,096 rows each")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    device, engines = torch.device(asked.device), asked.engine or list(ENGINES[asked.device])
    if other := set(engines) - set(ENGINES[asked.device]):
        parser.error(f"--device {asked.device} has engines {', '.join(ENGINES[asked.device])}, not {', '.join(other)}")
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: there is no GPU here")
    torch.set_num_threads(1)
    with torch.no_grad():
        gained = gains(list(TRELLIS_STATES), asked.columns)
        rows = []
        for count in asked.states:
            for engine in engines:
                found = stage(asked.recipe, count, engine, device, asked.threads, asked.share)
                rows += found if engine == engines[-1] else found[:1]
    report(
        f"trellis, {asked.recipe}",
        rows,
        device_words(device, asked.threads),
        unit="s",
        output=asked.output,
        recipe=asked.recipe,
        share=asked.share,
        cores=os.cpu_count(),
        gain=gained,
    )
    report("gain of a trellis on independent Gaussian weights", gained, "", unit="bits", output=None)


if __name__ == "__main__":
    main()
