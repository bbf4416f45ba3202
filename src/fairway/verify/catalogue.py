"""The rules that are asked of anybody's submission, in the order in which they are told."""

from fairway.verify.finding import Rule

SUBMISSION_RULES: tuple[Rule, ...] = ()
