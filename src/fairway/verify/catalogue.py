"""The rules that are asked of anybody's submission, in the order in which they are told."""

from fairway.verify.finding import Rule
from fairway.verify.rules import (
    folder_name,
    folder_size,
    ledger_absent,
    links,
    one_new_folder,
    required_files,
    stray_files,
)

SUBMISSION_RULES: tuple[Rule, ...] = (
    one_new_folder.RULE,
    folder_name.RULE,
    required_files.RULE,
    stray_files.RULE,
    links.RULE,
    folder_size.RULE,
    ledger_absent.RULE,
)
"""Every rule over a ``Submission``; one line a rule."""
