"""The run's log: one JSON object a line for machines, one echoed line for people, from the same facts."""

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fairway.errors import DataError, GateError
from fairway.runtime.lines import LineFile

# One line a tensor is for the report, not for a screen.
_SILENT_EVENTS = frozenset({"hessian", "tensor"})
_ENTRY_FIELDS = ("stage", "event", "t_s")


def render(entry: Mapping[str, Any]) -> str | None:
    """Line that people read, or None for events that only machines read.

    A training step has the form of the published logs:
    ``step:50/400 train_loss:3.1416 train_time:1234ms step_avg:24.68ms``.
    """
    if entry["event"] in _SILENT_EVENTS:
        return None
    if entry["event"] == "step":
        steps = "?" if entry.get("steps") is None else entry["steps"]
        return (
            f"step:{entry['step']}/{steps} train_loss:{entry['loss_nats']:.4f}"
            f" train_time:{1000 * entry['train_s']:.0f}ms step_avg:{entry['step_avg_ms']:.2f}ms"
        )
    words = [f"{key}:{_event_word(value)}" for key, value in entry.items() if key not in _ENTRY_FIELDS]
    return " ".join([f"{entry['stage']}: {entry['event']}", *words])


def _event_word(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.8g}"
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def _not_finite(value: object, path: str) -> str | None:
    """Path of the first NaN or infinity inside ``value``; a log with one could be read by no strict parser."""
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{path}={value}"
    if isinstance(value, Mapping):
        children = [(f"{path}.{key}", child) for key, child in value.items()]
    elif isinstance(value, (list, tuple)):
        children = [(f"{path}[{i}]", child) for i, child in enumerate(value)]
    else:
        return None
    return next((found for name, child in children if (found := _not_finite(child, name))), None)


class EventLog(LineFile):
    """Appends events to ``path.part`` and gives the file its name when the stage ends without an exception.

    With ``path`` None nothing is written (ranks other than the first); events are checked all the same.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        stage: str,
        echo: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(path)
        self.stage = stage
        self._echo = echo
        self._clock = clock
        self._opened_at = clock()

    def emit(self, event: str, /, **fields: Any) -> dict[str, Any]:
        """Append one event, flushed; ``GateError`` if a number is NaN or infinite, ``DataError`` if the disk is full.

        ``fields`` may hold whatever JSON holds; ``t_s`` (seconds since the log was opened) is added here.
        """
        assert not fields.keys() & set(_ENTRY_FIELDS), f"fields {_ENTRY_FIELDS} are the log's own"
        entry = {"stage": self.stage, "event": event, "t_s": round(self._clock() - self._opened_at, 6), **fields}
        wrong = _not_finite(fields, event)
        if wrong is not None:
            raise GateError(f"{self.stage}: {wrong}, a run's log holds finite numbers only")
        self.write_line(json.dumps(entry, allow_nan=False, ensure_ascii=False))
        if self._echo is not None:
            text = render(entry)
            if text is not None:
                self._echo(text)
        return entry


def read_events(path: Path) -> list[dict[str, Any]]:
    """Every event of a log in order; ``DataError`` names the line that is no event."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    entries = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            entry = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number}: not JSON ({error.msg}); each line is one event") from error
        if not isinstance(entry, dict) or not {"stage", "event", "t_s"} <= entry.keys():
            raise DataError(f"{path}:{number}: an event is an object with stage, event and t_s, got {line[:60]!r}")
        entries.append(entry)
    return entries
