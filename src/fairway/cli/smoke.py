"""``fairway recipe smoke``: recipes in small, side by side, each in a process of its own."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from fairway.cli.console import echo
from fairway.recipes.locate import find_recipe, recipe_names
from fairway.records.smoke import Failed, Smoked, label, prepare_data, smoke, write_smoked

_PIPED_WIDTH = 160


def command(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes; all of the folder if none is named.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder that takes every run's files.")] = Path(
        "results/smoke"
    ),
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Where `fairway recipe list` looks for what came through.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Recipes side by side; as many as there are cores if absent.")
    ] = None,
) -> None:
    """Train, quantize, compress, evaluate and judge recipes at reduced width. Exit status 1 if any fails."""
    wanted = list(dict.fromkeys(names or recipe_names()))
    for name in wanted:
        find_recipe(name)
    outcomes: list[Smoked | Failed] = []
    for outcome in _outcomes(wanted, output, jobs or len(os.sched_getaffinity(0))):
        outcomes.append(outcome)
        if json_file is not None:
            write_smoked(json_file, [outcome])  # at once: whoever interrupts keeps what is done
        if isinstance(outcome, Failed):
            echo(f"{outcome.name} FAILED: {outcome.reason}")
        took = "failed" if isinstance(outcome, Failed) else f"{outcome.seconds:.1f} s"
        echo(f"recipe:{len(outcomes)}/{len(wanted)} {outcome.name} {took}")
    order = [label(name) for name in wanted]
    outcomes.sort(key=lambda outcome: order.index(outcome.name))
    _show(outcomes)
    raise typer.Exit(int(any(isinstance(outcome, Failed) for outcome in outcomes)))


def _outcomes(names: Sequence[str], output: Path, jobs: int) -> Iterator[Smoked | Failed]:
    """Outcomes as they come; a process that dies is the failure of its recipe alone."""
    data = output / "data"
    lacking = list(prepare_data(names, data))
    yield from lacking
    runnable = [name for name in names if label(name) not in {failed.name for failed in lacking}]
    # Never forked: a thread of torch's that the parent had would be missing in the child.
    spawn = multiprocessing.get_context("spawn")
    done: set[str] = set()
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        waiting: dict[str, Future[Smoked | Failed]] = {
            name: pool.submit(smoke, name, output, data) for name in runnable
        }
        try:
            for name, future in waiting.items():
                yield future.result()
                done.add(name)
        except BrokenProcessPool:
            pass
    for name in (name for name in runnable if name not in done):
        # Which recipe killed its process is not known: each that is left is run in one of its own.
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            try:
                yield pool.submit(smoke, name, output, data).result()
            except BrokenProcessPool:
                yield Failed(label(name), "its process died, which is what a lack of memory looks like")


def _show(outcomes: Sequence[Smoked | Failed]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("recipe", no_wrap=True)
    for column in ("parameters", "steps", "loss", "bpb float / rounded / final", "artifact B", "s", "CPU s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for one in outcomes:
        if isinstance(one, Failed):
            table.add_row(one.name, *([""] * 7), "[red]FAIL")
            continue
        table.add_row(
            one.name,
            f"{one.parameters:,}",
            f"{one.steps}",
            f"{one.loss_first:.3f} -> {one.loss_last:.3f}",
            f"{one.bpb_float:.4f} / {one.bpb_quantized:.4f} / {one.bpb_final:.4f}",
            f"{one.artifact_bytes:,}",
            f"{one.seconds:.1f}",
            f"{one.cpu_s:.1f}",
            "PASS",
        )
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    console.print(table)
    came_through = [one for one in outcomes if isinstance(one, Smoked)]
    cpu_s = sum(one.cpu_s for one in came_through)
    for one in outcomes:
        if isinstance(one, Failed):
            console.print(f"{one.name}: {one.reason}", soft_wrap=True, markup=False)
    console.print(f"{len(came_through)} of {len(outcomes)} recipes came through, {cpu_s:.0f} CPU seconds")
