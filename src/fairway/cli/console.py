"""Lines for a log, progress for a terminal. Both come from the same lines, so neither knows more than the other."""

import re
import sys

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

_COUNTED = re.compile(
    r"(?:step|recipe):(?P<step>\d+)/(?P<steps>\d+) (?P<step_rest>.*)"
    r"|.*scored targets:(?P<done>\d+) of:(?P<of>\d+) (?P<rest>.*)"
)


class _Terminal:
    """One bar that moves with counted lines; every other line scrolls by above it."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self.total = 0

    def show(self, line: str) -> None:
        counted = _COUNTED.fullmatch(line)
        if counted is None:
            self.progress.console.print(line, style="dim", markup=False)
            return
        done = int(counted["step"] or counted["done"])
        total = int(counted["steps"] or counted["of"])
        words = counted["step_rest"] or counted["rest"]
        if total != self.total:
            for task in self.progress.task_ids:
                self.progress.remove_task(task)
            self.progress.add_task(words, total=total)
            self.total = total
            self.progress.start()
        self.progress.update(self.progress.task_ids[0], completed=done, description=words)
        if done >= total:
            self.progress.stop()
            self.total = 0


_terminal: _Terminal | None = None


def echo(line: str) -> None:
    """Show one line of a running stage on standard error: a moving bar on a terminal, plain lines elsewhere."""
    global _terminal
    if not sys.stderr.isatty():
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is the log
        return
    if _terminal is None:
        _terminal = _Terminal()
    _terminal.show(line)
