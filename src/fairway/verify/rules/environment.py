"""All stages ran in one environment, it is the one that their own logs speak of, and it has what was pinned."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fairway.verify.facts import ENVIRONMENT, REQUIREMENTS, Facts
from fairway.verify.finding import Finding, Rule, failed, passed
from fairway.verify.outside import environments, stages

_PIN = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\#]+)", re.MULTILINE)
_MOST_NAMED = 6


def _check(facts: Facts) -> Iterator[Finding]:
    told = environments(facts)
    findings = [*_one(told), *_logs(facts, told), *_pins(facts, told)]
    yield from findings
    if not any(finding.verdict == "FAIL" for finding in findings):
        first = told[0]
        revision = (first.get("git") or {}).get("revision") or "unknown"
        yield passed(
            f"one environment: image {first['image']}, Python {first['python']}, {len(first['packages'])} packages,"
            f" revision {revision[:12]}"
        )


def _one(told: list[Mapping[str, Any]]) -> Iterator[Finding]:
    for other in told[1:]:
        lines = list(differences(told[0], other))
        more = f" and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
        yield failed(f"stages ran in different environments: {'; '.join(lines[:_MOST_NAMED])}{more}", file=ENVIRONMENT)


def differences(one: Mapping[str, Any], other: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Where two descriptions differ: ``packages.torch.version: 2.13.0 and 2.11.0``."""
    for key in sorted({*one, *other}):
        here, there = one.get(key), other.get(key)
        where = f"{path}.{key}" if path else key
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            yield from differences(here, there, where)
        elif here != there:
            yield f"{where}: {here} and {there}"


def _logs(facts: Facts, told: list[Mapping[str, Any]]) -> Iterator[Finding]:
    """What the stages say of Python and torch is what was found outside."""
    for seen in stages(facts):
        place = told[seen.environment]
        event = facts.seeds[seen.seed].only(seen.stage, "environment")
        torch = (place["packages"].get("torch") or {}).get("version")
        for what, inside, outside in (
            ("Python", event.text("python"), place["python"]),
            ("torch", event.text("torch"), torch),
        ):
            if str(outside).partition("+")[0] != inside.partition("+")[0]:
                yield failed(
                    f"seed {seen.seed}, {seen.stage}: {what} is {inside} by its own log, {outside} from outside",
                    file=event.file,
                    line=event.line,
                )


def _pins(facts: Facts, told: list[Mapping[str, Any]]) -> Iterator[Finding]:
    """What requirements.txt pins is what was installed."""
    for name, version in _PIN.findall(facts.requirements or ""):
        canonical = re.sub(r"[-_.]+", "-", name).lower()
        found = (told[0]["packages"].get(canonical) or {}).get("version")
        if str(found).partition("+")[0] != version.partition("+")[0]:
            yield failed(f"pins {name}=={version}, the stages ran with {found}", file=REQUIREMENTS)


RULE = Rule(
    id="environment",
    why="Numbers come out otherwise with other packages, and nobody can make the environment again that is not named.",
    source="README: submissions are reproducible and self-contained (rules 1.5); fairway: environment.json",
    scope="record",
    check=_check,
    fix="Run all stages again on one machine with one lock, and ship the requirements.txt of that.",
)
