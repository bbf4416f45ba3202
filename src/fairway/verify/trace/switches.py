"""Which settings a run had: what its logs print, else what the commands in the folder set, else its defaults."""

import re
from collections.abc import Mapping
from typing import Any

from fairway.verify.submission import Submission

_SETTING = re.compile(r"(?<![\w$])([A-Z][A-Z0-9_]{2,})=(\"[^\"]*\"|'[^']*'|[^\s\\;`|&]+)")
_LARGEST_SCRIPT_BYTES = 100_000


def switches(submission: Submission) -> Mapping[str, Any]:
    """Settings by lower-case name; a setting on which the seeds' logs or the commands differ is left out."""
    printed: dict[str, set[str]] = {}
    for log in submission.seed_logs.values():
        for name, value in log.settings.items():
            printed.setdefault(name.lower(), set()).add(value.strip())
    found: dict[str, Any] = {name: values.pop() for name, values in printed.items() if len(values) == 1}
    ordered: dict[str, set[str]] = {}
    for text in _commands(submission):
        for name, value in _SETTING.findall(text):
            ordered.setdefault(name.lower(), set()).add(value.strip("\"'"))
    for name, values in ordered.items():
        if name not in found and name not in printed and len(values) == 1:
            found[name] = values.pop()
    return found


def _commands(submission: Submission) -> list[str]:
    texts = [submission.readme or ""]
    for path, entry in submission.tree.files.items():
        if path.endswith(".sh") and entry.size_bytes <= _LARGEST_SCRIPT_BYTES:
            texts.append(submission.tree.read(path, _LARGEST_SCRIPT_BYTES).decode("utf-8", "replace"))
    return texts
