"""Facts and mechanical verdicts of one submission, under the names that a table of expectations uses."""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from fairway.verify.submission import README, Submission

_STANDARD_LOG = re.compile(r"(?:logs/)?train[^/]*\.(?:log|txt)", re.IGNORECASE)


def summary(submission: Submission) -> dict[str, Any]:
    """One JSON object: files, claim, each log, what they give together, and what arithmetic says of it."""
    main = submission.programs.main
    claim = submission.claim
    return {
        "submission_file": submission.submission_file,
        "main_script": main.file if main is not None else None,
        "main_script_bytes": len(main.shipped) if main is not None else None,
        "claim": _first("claims", "claim_facts", submission) if claim is not None else None,
        **(_first("claims", "sum_facts", submission) or {}),
        "logs": [_log(log, submission) for log in submission.logs],
        "verdict": {**verdicts(submission), **_all("verdicts", submission)},
        "external_commands": _first("programs", "external_commands", submission) or [],
    }


def verdicts(submission: Submission) -> dict[str, bool | None]:
    """What the files and the change show: true, false, or None where the question does not arise."""
    files = submission.tree.files
    logs = [log.file for log in submission.logs]
    change = submission.change
    return {
        "readme_present": README in files,
        "submission_json_present": "submission.json" in files,
        "train_gpt_present": "train_gpt.py" in files,
        "train_log_present": bool(logs),
        "log_names_standard": all(_STANDARD_LOG.fullmatch(file) for file in logs) if logs else None,
        "pr_adds_only_folder": None
        if change is None
        else all(
            path.startswith(tuple(f"{folder}/" for folder in change.folders))
            for path in (*change.added, *change.modified, *change.deleted)
        ),
    }


def _modules(part: str) -> Iterator[Any]:
    package = importlib.import_module(f"fairway.verify.{part}")
    for module in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"fairway.verify.{part}.{module.name}")


def _function(part: str, name: str) -> Callable[..., Any] | None:
    return next((found for module in _modules(part) if callable(found := getattr(module, name, None))), None)


def _first(part: str, name: str, *arguments: Any) -> Any:
    function = _function(part, name)
    return None if function is None else function(*arguments)


def _all(name: str, submission: Submission) -> Mapping[str, bool | None]:
    found: dict[str, bool | None] = {}
    for part in ("logs", "claims", "programs"):
        found.update(_first(part, name, submission) or {})
    return found


def _log(log: Any, submission: Submission) -> dict[str, Any]:
    told = _first("logs", "facts", log)
    return dict(told) if told is not None else {"log": log.file, **asdict(log)}
