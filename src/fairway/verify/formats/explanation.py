"""One rule in words: what it asks, why, where that is written, what an author does, where it was seen."""

import difflib
import sys
from collections.abc import Mapping

from fairway.errors import DataError
from fairway.verify.finding import Rule

_ASKED = {
    "submission": "of any submission",
    "record": "of fairway's own records",
    "seed": "of fairway's own records and of each of its seeds",
}


def explain(rule_id: str, rules: Mapping[str, Rule]) -> str:
    """The text of ``fairway check --explain``; ``DataError`` names the nearest rule where there is none of that id."""
    if rule_id not in rules:
        near = difflib.get_close_matches(rule_id, rules, n=1, cutoff=0.0)
        raise DataError(f"--explain: there is no rule {rule_id!r}; did you mean {near[0]}?")
    rule = rules[rule_id]
    lines = [
        f"{rule.id}  ({rule.category}; asked {_ASKED[rule.scope]})",
        "",
        f"What   {asked(rule)}",
        f"Why    {rule.why}",
        f"Source {rule.source}",
    ]
    if rule.fix:
        lines.append(f"Fix    {rule.fix}")
    if rule.cases:
        lines.append(f"Seen   openai/parameter-golf {', '.join(f'#{number}' for number in rule.cases)}")
    return "\n".join(lines) + "\n"


def asked(rule: Rule) -> str:
    """What holds where the rule passes: the first line of its module."""
    said = sys.modules[rule.check.__module__].__doc__ or rule.id
    return said.strip().splitlines()[0]
