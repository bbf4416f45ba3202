"""Which settings a run had: what its logs print, else what the commands in the folder may set, else its defaults."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fairway.verify.submission import Submission
from fairway.verify.trace.values import UNKNOWN

_SETTING = re.compile(r"(?<![\w$])([A-Z][A-Z0-9_]{2,})=(\"[^\"]*\"|'[^']*'|[^\s\\;`|&)]+)")
_LARGEST_SCRIPT_BYTES = 100_000
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "none": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """Settings by lower-case name. Hashable, so that a program is followed once for all rules."""

    printed: tuple[tuple[str, str | None], ...] = ()
    """What every seed's log prints; None where they differ."""
    ordered: tuple[tuple[str, frozenset[str]], ...] = ()
    """What commands in README and scripts set; which of them was the run's nobody can tell."""
    marks: frozenset[str] = frozenset()
    """First words of lines that the logs hold and that may come from one place of the program alone."""
    _printed: dict[str, str | None] = field(init=False, repr=False, compare=False, hash=False)
    _ordered: dict[str, frozenset[str]] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        """Make both quick to look up."""
        object.__setattr__(self, "_printed", dict(self.printed))
        object.__setattr__(self, "_ordered", dict(self.ordered))

    def of_environment(self, name: str, default: Any) -> Any:
        """A variable of the environment, as text; ``UNKNOWN`` where commands set it to something else."""
        name = name.lower()
        if name in self._printed:
            text = self._printed[name]
            if text is None:
                return UNKNOWN
            word = _WORDS.get(text.strip().lower(), text)
            return {True: "1", False: "0"}.get(word, text) if isinstance(word, bool) else text
        if name in self._ordered:
            return default if self._ordered[name] == {str(default)} else UNKNOWN
        stem = name.removesuffix("_enabled").removeprefix("use_").removeprefix("enable_") + "_"
        if stem != name + "_" and any(other.startswith(stem) for other in self._ordered):
            return UNKNOWN  # commands set how it works, so that it may have been on
        return default

    def of_attribute(self, name: str, value: Any) -> Any:
        """A hyper-parameter as it was printed; ``value`` where it was not."""
        name = name.lower()
        if name not in self._printed:
            return value
        text = self._printed[name]
        if text is None:
            return UNKNOWN
        text = text.strip()
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        if isinstance(value, bool) and text in ("0", "1"):
            return text == "1"
        for number in (int, float):
            try:
                return number(text)
            except ValueError:
                continue
        return text if value is UNKNOWN or isinstance(value, str | None) else value


def switches(submission: Submission) -> Switches:
    """The settings of a submission's runs, by its seeds' logs and by the commands in its folder."""
    printed: dict[str, set[str]] = {}
    for log in submission.seed_logs.values():
        for name, value in log.settings.items():
            printed.setdefault(name.lower(), set()).add(value.strip())
    ordered: dict[str, set[str]] = {}
    for text in _commands(submission):
        for name, value in _SETTING.findall(text):
            ordered.setdefault(name.lower(), set()).add(value.strip("\"'"))
    labels = {score.label for log in submission.seed_logs.values() for score in log.scores}
    begun = {f"{name}:{value.split()[0]}" for name, values in printed.items() for value in values if value.split()}
    return Switches(
        marks=frozenset(labels | begun),
        printed=tuple(sorted(((name, _one(values)) for name, values in printed.items()), key=lambda pair: pair[0])),
        ordered=tuple(
            sorted(((name, frozenset(values)) for name, values in ordered.items()), key=lambda pair: pair[0])
        ),
    )


def _one(values: set[str]) -> str | None:
    return next(iter(values)) if len(values) == 1 else None


def _commands(submission: Submission) -> list[str]:
    texts = [submission.readme or ""]
    for path, entry in submission.tree.files.items():
        if path.endswith(".sh") and entry.size_bytes <= _LARGEST_SCRIPT_BYTES:
            texts.append(submission.tree.read(path, _LARGEST_SCRIPT_BYTES).decode("utf-8", "replace"))
    return texts
