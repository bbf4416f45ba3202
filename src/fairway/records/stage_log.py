"""The events of one stage of one seed; a field that is not there is an error that names the file."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.errors import FairwayError
from fairway.runtime.events import read_events

Entry = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StageLog:
    """Events of one stage of one seed, and the file they were read from."""

    path: Path
    entries: tuple[Entry, ...]

    def all(self, event: str) -> list[Entry]:
        """Every event of that kind, in order."""
        return [entry for entry in self.entries if entry["event"] == event]

    def only(self, event: str, **where: object) -> Entry:
        """The one event of that kind whose fields are as given; ``FairwayError`` if there is none or another."""
        found = [entry for entry in self.all(event) if all(entry.get(key) == value for key, value in where.items())]
        if len(found) != 1:
            wanted = " ".join([event, *(f"{key}={value}" for key, value in where.items())])
            raise FairwayError(f"{self.path}: must hold one event {wanted!r}, holds {len(found)}")
        return found[0]

    def number(self, entry: Entry, key: str) -> float:
        """A field that must be a number."""
        value = entry.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise FairwayError(f"{self.path}: event {entry['event']!r}: {key} must be a number, got {value!r}")
        return float(value)

    def count(self, entry: Entry, key: str) -> int:
        """A field that must be an integer, not negative."""
        value = entry.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise FairwayError(f"{self.path}: event {entry['event']!r}: {key} must be 0 or more, got {value!r}")
        return value

    def text(self, entry: Entry, key: str) -> str:
        """A field that must be a string."""
        value = entry.get(key)
        if not isinstance(value, str):
            raise FairwayError(f"{self.path}: event {entry['event']!r}: {key} must be a string, got {value!r}")
        return value

    def number_or_none(self, entry: Entry, key: str) -> float | None:
        """A field that may be absent or null."""
        return None if entry.get(key) is None else self.number(entry, key)


def read_stage(path: Path, stage: str) -> StageLog:
    """All events of a stage from its file, which holds no other stage's."""
    entries = read_events(path)
    strays = {entry["stage"] for entry in entries} - {stage}
    if strays:
        raise FairwayError(f"{path}: holds events of {', '.join(sorted(strays))}; must hold those of {stage} only")
    return StageLog(path, tuple(entries))
