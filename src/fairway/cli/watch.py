"""``fairway watch``: one command inside walls and limits, and a record of what an outsider saw of it."""

import json
import sys
from pathlib import Path
from typing import Annotated

import psutil
import typer

from fairway.machine.environment import describe_environment
from fairway.machine.limits import Limits
from fairway.machine.watch import Task, shell_status, watch
from fairway.runtime.files import write_text_atomic

FORMAT = 1
_MOST_PROCESSES = 1024
_MOST_DISK_BYTES = 16 << 30
_MOST_MEMORY = 0.95
"""Of the machine's memory, where no limit was given."""


def command(
    command: Annotated[list[str], typer.Argument(help="The command, after --.", metavar="-- COMMAND ...")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the record of it is written.")],
    stage: Annotated[str, typer.Option(help="What the command is, in the record.")] = "command",
    isolate: Annotated[
        bool, typer.Option("--isolate", help="Enclose it where the system allows: no network, only what is named.")
    ] = False,
    read: Annotated[list[Path] | None, typer.Option(help="What it may read inside; may be repeated.")] = None,
    make: Annotated[list[Path] | None, typer.Option(help="What it is to write; may be repeated.")] = None,
    seconds: Annotated[float | None, typer.Option(help="End it after so many seconds.")] = None,
    memory_gb: Annotated[float | None, typer.Option(help="End it when it holds more memory, in GB.")] = None,
) -> None:
    """Run a command and record its environment, its seconds by a clock of our own, and what enclosed it.

    Exit status: the command's own; 1 where it passed a limit or left an output out.
    """
    memory_bytes = round(memory_gb * 1e9) if memory_gb else round(_MOST_MEMORY * psutil.virtual_memory().total)
    task = Task(
        command=command,
        reads=read or (),
        outputs=make or (),
        limits=Limits(
            seconds=seconds,
            memory_bytes=memory_bytes if isolate or memory_gb else None,
            processes=_MOST_PROCESSES if isolate else None,
            disk_bytes=_MOST_DISK_BYTES if isolate else None,
        ),
        walls=isolate,
    )
    environment = describe_environment(Path.cwd())
    seen = watch(task)
    record = {"format": FORMAT, "stage": stage, **seen.as_json(), "environment": environment}
    write_text_atomic(output, json.dumps(record, indent=1, sort_keys=True) + "\n")
    if seen.ended_by != "itself":
        limit = task.limits.as_json()[
            {"time": "seconds", "memory": "memory_bytes", "disk": "disk_bytes"}.get(seen.ended_by, seen.ended_by)
        ]
        print(f"fairway watch: {stage} was ended: {seen.ended_by} beyond {limit}", file=sys.stderr)
    elif seen.status == 0 and seen.missing:
        print(f"fairway watch: {stage} did not write {', '.join(seen.missing)}", file=sys.stderr)
    raise typer.Exit(shell_status(seen))
