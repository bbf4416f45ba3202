"""Facts and mechanical verdicts of one submission, under the names that a table of expectations uses."""

import math
import re
from collections.abc import Mapping
from typing import Any

from fairway.verify.claims import sums
from fairway.verify.claims import verdicts as of_claims
from fairway.verify.logs import verdicts as of_logs
from fairway.verify.programs import verdicts as of_programs
from fairway.verify.submission import README, Submission

_STANDARD_LOG = re.compile(r"(?:logs/)?train[^/]*\.(?:log|txt)", re.IGNORECASE)


def summary(submission: Submission) -> dict[str, Any]:
    """One JSON object: files, claim, each log, what they give together, and what arithmetic says of it."""
    main = submission.programs.main
    place = sums.place_of(submission)
    told = {
        "folder": submission.name,
        "track": "record" if submission.track.claim == "implied" else "non_record",
        "pr": place.pr,
        "merged": None if place.merged is None else place.merged[:10],
        "submission_file": submission.submission_file,
        "main_script": main.file if main is not None else None,
        "main_script_bytes": len(main.shipped) if main is not None else None,
        "claim": sums.claim_facts(submission),
        **sums.sum_facts(submission),
        "logs": [of_logs.facts(log) for log in submission.logs],
        "verdict": {
            **verdicts(submission),
            **of_claims.verdicts(submission),
            **of_logs.verdicts(submission),
            **of_programs.verdicts(submission),
        },
        "external_commands": of_programs.external_commands(submission),
    }
    return {key: _plain(value) for key, value in told.items()}


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


def _plain(value: Any) -> Any:
    """What JSON can hold: no NaN, no infinity, no type of ours."""
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
