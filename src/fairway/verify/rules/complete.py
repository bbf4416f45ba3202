"""Every file, event and field that is asked for is there, once, and can be read."""

import re
from collections.abc import Iterator

from fairway.verify import schemas
from fairway.verify.facts import (
    ARTIFACT,
    CHECKSUMS,
    CODE,
    DOCUMENTS,
    ENVIRONMENT,
    EVENTS,
    LEDGER,
    MANIFEST,
    PROBE,
    README,
    RECIPE,
    REQUIREMENTS,
    SOURCE,
    STAGES,
    SUBMISSION,
    UNSUMMED,
    Facts,
    SeedFacts,
    log_name,
)
from fairway.verify.finding import Finding, Rule, failed, passed, review

_RECORD_FILES = (README, SUBMISSION, REQUIREMENTS, RECIPE, MANIFEST, CODE, SOURCE, CHECKSUMS)
_NAME = re.compile(r"20[0-9]{2}-[01][0-9]-[0-3][0-9]_[A-Za-z0-9][A-Za-z0-9._-]*")
_FIGURE = re.compile(r"figures/[A-Za-z0-9_.-]+\.(png|svg)")
_MOST_EVENTS_NAMED = 5

_EVENTS_NEEDED: tuple[tuple[str, str, dict[str, str]], ...] = (
    *((stage, "code", {}) for stage in STAGES),
    *((stage, "environment", {}) for stage in STAGES),
    *((stage, "done", {}) for stage in STAGES),
    ("train", "start", {}),
    ("train", "stop", {}),
    ("float", "score", {"name": "float"}),
    ("evaluate", "load", {}),
    ("evaluate", "score", {"name": "quantized"}),
    ("evaluate", "score", {"name": "final"}),
)
"""Events that occur exactly once a seed."""


def _check(facts: Facts) -> Iterator[Finding]:
    if not facts.files and not facts.defects:
        yield failed("the folder is empty")
        return
    findings = [*_defects(facts), *_files(facts), *_schemas(facts)]
    for seed in facts.seeds.values():
        findings += [*_seed_files(facts, seed), *_events(seed)]
    yield from findings
    if not any(finding.verdict == "FAIL" for finding in findings):
        yield passed(f"{len(facts.files)} files, {len(facts.seeds)} seeds, every event that is asked for")


def _defects(facts: Facts) -> Iterator[Finding]:
    for defect in facts.defects:
        yield failed(defect.message, file=defect.file, line=defect.line)


def _files(facts: Facts) -> Iterator[Finding]:
    if facts.scope == "seed":
        return
    if _NAME.fullmatch(facts.folder) is None:
        yield failed(f"a record's folder is named YYYY-MM-DD_slug, got {facts.folder!r}")
    due = list(_RECORD_FILES)
    if facts.manifest is not None and facts.manifest.get("documents") is not None:
        due.append(DOCUMENTS)
    for file in due:
        yield from _there(facts, file)
    if not facts.seeds:
        yield failed("there is no folder seed<N>")
    known = {*due, DOCUMENTS, ENVIRONMENT, *UNSUMMED}
    for seed in facts.seeds.values():
        log = log_name(seed.seed)
        yield from _there(facts, log)
        known |= {log, *(f"{seed.folder}{name}" for name in (ARTIFACT, LEDGER, EVENTS, PROBE))}
    for file in sorted(facts.files.keys() - known):
        if _FIGURE.fullmatch(file) is None:
            yield review("not a file that a record consists of; what is it for?", file=file)


def _seed_files(facts: Facts, seed: SeedFacts) -> Iterator[Finding]:
    for name in (ARTIFACT, LEDGER):
        yield from _there(facts, f"{seed.folder}{name}")
    if facts.scope == "record":
        yield from _there(facts, f"{seed.folder}{EVENTS}")
    else:
        for stage in STAGES:
            yield from _there(facts, f"{stage}.events.jsonl")


def _there(facts: Facts, file: str) -> Iterator[Finding]:
    defective = {defect.file for defect in facts.defects}
    if file not in facts.files and file not in defective:
        yield failed("is missing", file=file)
    elif file in facts.files and facts.files[file].size_bytes == 0:
        yield failed("is empty", file=file)


def _schemas(facts: Facts) -> Iterator[Finding]:
    for file, schema, value in (
        (SUBMISSION, "submission", facts.submission),
        (MANIFEST, "data_manifest", facts.manifest),
        (ENVIRONMENT, "environment", facts.environment),
        *((f"{seed.folder}{PROBE}", "probe", seed.probe) for seed in facts.seeds.values()),
    ):
        if value is not None:
            for wrong in schemas.violations(schema, value):
                yield failed(wrong, file=file)
    resolved = facts.recipe
    if resolved is not None:
        if not isinstance(resolved.get("recipe"), dict) or not isinstance(resolved.get("sha256"), str):
            yield failed("must hold a recipe and its sha256", file=RECIPE)


def _events(seed: SeedFacts) -> Iterator[Finding]:
    if not seed.events:
        return
    bad = 0
    for event in seed.events:
        entry = {"stage": event.stage, "event": event.name, "t_s": event.t_s, **event.fields}
        for wrong in schemas.violations("event", entry, most=1):
            bad += 1
            if bad <= _MOST_EVENTS_NAMED:
                yield failed(f"event {event.name} of stage {event.stage}: {wrong}", file=event.file, line=event.line)
    if bad > _MOST_EVENTS_NAMED:
        yield failed(f"{bad - _MOST_EVENTS_NAMED} further events are not as they must be", file=seed.events_file)
    for stage, name, fields in _EVENTS_NEEDED:
        found = seed.of(stage, name, **fields)
        if len(found) != 1:
            wanted = " ".join([name, *fields.values()])
            line = found[1].line if found else None
            file = found[1].file if found else seed.events_file
            yield failed(
                f"seed {seed.seed}: stage {stage} has {len(found)} events {wanted!r}, must be one", file=file, line=line
            )


RULE = Rule(
    id="complete",
    why="What is not in the folder cannot be checked by anybody, and a half-written file proves nothing.",
    source="README: README.md, submission.json, logs and code in one folder (rules 1.9); schemas/*.schema.json",
    scope="seed",
    check=_check,
)
