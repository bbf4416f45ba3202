"""What benchmarks share: seconds on any device, the peak to hold them against, intervals, one form of result.

A benchmark's folder is no package; it finds this file by ``sys.path.insert(0, <benchmarks>)``.
"""

import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

Row = dict[str, Any]
"""``what``, ``seconds``, ``ratio`` (to the first row unless the benchmark says otherwise), and more."""


def best_device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


CLOCKS = {"wall": time.perf_counter, "process": time.process_time}
"""Of a CPU. ``process`` counts all threads; with one it is the wall clock less what other work took of the machine."""


def seconds_of(
    call: Callable[[], object], device: torch.device, *, repeat: int, warm_up: int = 1, clock: str = "wall"
) -> list[float]:
    """Seconds of each of ``repeat`` calls: between CUDA events on a GPU, which nothing waits for, else by ``clock``."""
    for _ in range(warm_up):
        call()
    if device.type != "cuda":
        found = []
        for _ in range(repeat):
            began = CLOCKS[clock]()
            call()
            found.append(CLOCKS[clock]() - began)
        return found
    torch.cuda.synchronize(device)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeat + 1)]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    torch.cuda.synchronize(device)
    return [one.elapsed_time(two) / 1000.0 for one, two in zip(marks, marks[1:], strict=False)]


def matmul_peak(
    device: torch.device, dtype: torch.dtype, *, order: int | None = None, repeat: int = 20, clock: str = "wall"
) -> float:
    """FLOP/s of a square product of random matrices on this device: the median, not the best, of ``repeat``."""
    order = order or (8192 if device.type == "cuda" else 1024)
    draws = torch.Generator().manual_seed(0)
    # Random, for products of zeros draw less power and run at higher clocks.
    a, b = (torch.randn(order, order, generator=draws).to(device, dtype) for _ in range(2))
    seconds = seconds_of(lambda: a @ b, device, repeat=repeat, warm_up=3, clock=clock)
    return 2.0 * order**3 / statistics.median(seconds)


def bootstrap_median(values: Sequence[float], *, draws: int = 10_000, share: float = 0.95) -> tuple[float, float]:
    """Bounds of the median under resampling of the values, the same in every call."""
    chance = random.Random(0)
    medians = sorted(statistics.median(chance.choices(values, k=len(values))) for _ in range(draws))
    tail = round((1.0 - share) / 2 * draws)
    return medians[tail], medians[-1 - tail]


def device_words(device: torch.device, threads: int | None = None) -> str:
    """The device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()}, {os.cpu_count()} cores, {threads or torch.get_num_threads()} threads"


def report(name: str, rows: Sequence[Row], device: str, *, unit: str, output: Path | None, **more: Any) -> None:
    """Print the rows as a table and write them as JSON."""
    table = Table(title=name, box=SIMPLE_HEAD, pad_edge=False)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    for column in columns:
        table.add_column(column, justify="left" if column == "what" else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(_shown(row.get(column)) for column in columns))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 160
    console.print(table)
    if output is not None:
        result = {
            "name": name,
            "date": time.strftime("%Y-%m-%d"),
            "device": device,
            "torch": torch.__version__,
            "unit": unit,
            "load_average_1min": os.getloadavg()[0],
            **more,
            "rows": list(rows),
        }
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if value < 1000 else f"{value:,.0f}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
