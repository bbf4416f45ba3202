"""The source that a script prints at the head of its log, cut out of the log."""

import hashlib
import re

LIMIT_CHARACTERS = 4_000_000
LEAST_LINES = 2
GARBLED_FROM = 40
"""So many lines of code outside a dump are a dump that was torn apart."""

_RULE = re.compile(r"={80,}\s*$")
_MARK = re.compile(r"(?:source code|script source|code dump)\s*:?\s*$", re.IGNORECASE)
_FIRST = re.compile(r'(?:#!|#.*coding|r?"""|r?\'\'\'|import [\w., ]+|from [\w.]+ import )')
_HEAD = re.compile(r'(?:#!|r?"""|from __future__ import )')
"""What only a script begins with, wherever in a log it stands."""
_CODE = re.compile(
    r"(?:def |class |@|import |from \S+ import |if __name__|\s{4,}(?:return|self\.|def |if .*:$|for .*:$)|exec\()"
)
_LAST = re.compile(r"\s*(?:main\(\)|exec\(.*\))\s*$")
_LOGGED = re.compile(
    r"(?:Running P(?:ython|yTorch)\b|Hyperparameters:\s*$|logs?/\S+\.txt\s*$|step:\d+/\d+ |\d+/\d+ \w+_loss: "
    r"|warmup_step:|val_bpb:enabled |train_loader:dataset|val_loader:shards |world_size:\d|model_params:\s*\d"
    r"|seed:\d+\s*$|stopping_early: )"
)


class Dump:
    """Fed line by line, it says which lines are source; ``found`` holds what the last dump was."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._inside = False
        self._marked = False
        self._kept = 0
        self._start = 0
        self._open = True
        self.found: tuple[str, int] | None = None
        """Text of the last dump, and the line of the log on which it begins."""
        self.stray = 0
        """Lines of code that are part of no dump."""

    def feed(self, number: int, line: str) -> bool:
        """Whether a line belongs to a dump, or ends it."""
        if self._inside:
            return self._within(number, line)
        if self._marked:
            self._marked = False
            self._enter(number + 1)
            if not _RULE.match(line):
                self._keep(line)
            return True
        if _MARK.match(line):
            self._marked = True
            return True
        if _HEAD.match(line) or self._open and _FIRST.match(line):
            self._enter(number)
            self._keep(line)
            return True
        if _LOGGED.match(line):
            self._open = line.startswith(("Hyper", "log"))
        elif _CODE.match(line):
            self.stray += 1
        elif _RULE.match(line) or not line:
            self._open = True
        return False

    @property
    def garbled(self) -> bool:
        """Whether the log holds source that is not in one piece."""
        return self.stray >= GARBLED_FROM

    @property
    def sha256(self) -> str | None:
        """Of the text of the last dump."""
        return None if self.found is None else hashlib.sha256(self.found[0].encode()).hexdigest()

    def _enter(self, number: int) -> None:
        self._lines, self._kept, self._start, self._inside = [], 0, number, True

    def _keep(self, line: str) -> None:
        self._kept += len(line) + 1
        if self._kept <= LIMIT_CHARACTERS:
            self._lines.append(line)

    def _within(self, number: int, line: str) -> bool:
        ended = bool(_RULE.match(line))
        if not ended and not _LOGGED.match(line):
            self._keep(line)
            return True
        self._inside, self._open = False, False
        lines, self._lines = self._lines, []
        code = sum(1 for kept in lines if _CODE.match(kept))
        whole = ended or any(_LAST.match(kept) for kept in lines[-4:])
        if code >= LEAST_LINES and len(lines) > 1 and whole and self._kept <= LIMIT_CHARACTERS:
            self.found = ("\n".join(lines), self._start)
        else:
            self.stray += code
        return ended
