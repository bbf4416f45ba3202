"""environment.json: what a watcher outside saw of each stage, and of the machines they ran on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.verify import schemas
from fairway.verify.facts import ENVIRONMENT, STAGES, Facts, NoEvidence


@dataclass(frozen=True, slots=True)
class Seen:
    """One stage of one seed, from outside."""

    seed: int
    stage: str
    environment: int
    """Which of the environments it ran on."""
    seconds: float
    """From the start of its process to the end, by the watcher's clock."""
    exit_status: int
    isolation: Mapping[str, Any]


def environments(facts: Facts) -> list[Mapping[str, Any]]:
    """Each machine as it was described, once; ``NoEvidence`` where nothing was watched."""
    record = facts.environment
    if record is None:
        raise NoEvidence("nothing says on what the stages ran: they were not watched from outside", ENVIRONMENT)
    wrong = schemas.violations("environment", record, most=1)
    count = len(record["environments"]) if not wrong else 0
    if wrong or any(each["environment"] >= count for each in record["stages"]):
        raise NoEvidence("is not as it must be, so it shows nothing", ENVIRONMENT)
    return list(record["environments"])


def stages(facts: Facts) -> Iterator[Seen]:
    """Every stage that was watched; ``NoEvidence`` where one of a seed of the record was not, or twice."""
    environments(facts)
    assert facts.environment is not None
    found = [
        Seen(each["seed"], each["stage"], each["environment"], each["seconds"], each["exit_status"], each["isolation"])
        for each in facts.environment["stages"]
    ]
    asked = [(seed, stage) for seed in facts.seeds for stage in STAGES]
    told = [(each.seed, each.stage) for each in found]
    for seed, stage in asked:
        if told.count((seed, stage)) != 1:
            raise NoEvidence(f"seed {seed}: stage {stage} stands {told.count((seed, stage))} times", ENVIRONMENT)
    yield from (each for each in found if (each.seed, each.stage) in asked)
