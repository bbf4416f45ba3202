"""A record run again: what was claimed, what came out, and whether the difference is what seeds make.

The test, stated: of the record's seeds the mean and the standard deviation s (n values) are taken, of the repeated ones
the mean (m values). They agree if the means differ by at most ``t s sqrt(1/n + 1/m)`` with t the 97.5 % point of
Student's distribution of n - 1 degrees: of true repetitions with the noise of seeds, 95 in 100 do. A seed whose
artifact comes out byte for byte agrees whatever the noise. Times are told as ratios and not tested, for they are
the machine's.
"""

import hashlib
import json
import math
import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from fairway.errors import FairwayError
from fairway.machine.limits import Limits
from fairway.machine.watch import Task, Watched, watch
from fairway.verify.logs.facts import LogFacts
from fairway.verify.logs.parse import read_log
from fairway.verify.statistics import student_bound

CODE = "train_gpt.py"
Outcome = Literal["identical", "within noise", "outside noise", "cannot tell", "did not run"]
_SHARE = 0.975


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """What one seed came to; None where its log does not say."""

    bpb: float | None
    loss_nats: float | None
    artifact_bytes: int | None
    steps: int | None
    train_s: float | None
    eval_s: float | None
    artifact_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeated:
    """One seed run again."""

    seed: int
    recorded: Numbers | None
    found: Numbers | None
    watched: Mapping[str, Any]
    log: str

    @property
    def is_identical(self) -> bool:
        """Whether the artifact is the recorded one, byte for byte."""
        told = (self.recorded and self.recorded.artifact_sha256, self.found and self.found.artifact_sha256)
        return told[0] is not None and told[0] == told[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One quantity, recorded and repeated."""

    what: str
    recorded: float | None
    found: float | None
    bound: float | None
    """How far the means may be apart."""
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """A whole attempt."""

    record: str
    seeds: tuple[Repeated, ...]
    agreements: tuple[Agreement, ...]
    environment: Mapping[str, Any]
    differences: tuple[str, ...] = field(default=())
    """Between the record's environment and this one; empty where the record tells of none."""

    @property
    def succeeded(self) -> bool:
        """Whether score and size came out as recorded, as far as can be told, and every seed ran."""
        return all(each.outcome in ("identical", "within noise") for each in self.agreements)


def run_again(
    folder: Path,
    seed: int,
    scratch: Path,
    command: Sequence[str],
    *,
    reads: Sequence[Path],
    variables: Mapping[str, str],
    limits: Limits,
    walls: bool = True,
) -> Watched:
    """Run a copy of the folder's program in ``scratch/work`` inside walls; it prints into ``scratch/run.log``."""
    work = scratch / "work"
    if not work.is_dir():
        raise FairwayError(f"{work}: no such folder; it should hold a copy of {folder.name}")
    task = Task(
        command=command,
        reads=reads,
        room=work,
        variables={**variables, "SEED": str(seed)},
        limits=limits,
        walls=walls,
        log=scratch / "run.log",
    )
    return watch(task, folder=work)


def copy_program(folder: Path, work: Path) -> None:
    """What a run needs of a submission: its files but logs, records of old runs and weights."""
    if not (folder / CODE).is_file():
        raise FairwayError(f"{folder}: has no {CODE}, so there is nothing to run")
    if work.exists():
        shutil.rmtree(work)
    left_out = shutil.ignore_patterns("*.log", "*.bin", "*.ptz", "*.pt", "*.safetensors", "seed*", "figures", ".*")
    shutil.copytree(folder, work, ignore=left_out)


def numbers_of(log: LogFacts, artifact: Path | None = None) -> Numbers:
    """The numbers of a seed's log; the artifact's digest from the file itself."""
    return Numbers(
        bpb=log.final_val_bpb,
        loss_nats=log.final_val_loss,
        artifact_bytes=log.bytes_model,
        steps=log.steps,
        train_s=log.train_s,
        eval_s=log.eval_s,
        artifact_sha256=None if artifact is None else hashlib.sha256(artifact.read_bytes()).hexdigest(),
    )


def read_numbers(log: Path, artifact: Path | None = None) -> Numbers:
    """``numbers_of`` the file that a run printed."""
    with log.open("rb") as stream:
        facts, _ = read_log(stream, log.name)
    return numbers_of(facts, artifact)


def compare(record: Sequence[Numbers], repeated: Sequence[Repeated]) -> tuple[Agreement, ...]:
    """Score and artifact bytes by the stated test."""
    found = [each.found for each in repeated if each.found is not None and each.found.bpb is not None]
    ran = len(found) == len(repeated)
    identical = ran and all(each.is_identical for each in repeated)
    rows = []
    for what, key in (("bits per byte", "bpb"), ("artifact bytes", "artifact_bytes")):
        old = [float(value) for each in record if (value := getattr(each, key)) is not None]
        new = [float(value) for each in found if (value := getattr(each, key)) is not None]
        bound = noise_bound(old, len(new))
        rows.append(
            Agreement(
                what=what,
                recorded=statistics.fmean(old) if old else None,
                found=statistics.fmean(new) if new else None,
                bound=bound,
                outcome="did not run" if not ran else "identical" if identical else _outcome(old, new, bound),
            )
        )
    return tuple(rows)


def noise_bound(record: Sequence[float], repeated: int) -> float | None:
    """How far the mean of so many repeated seeds may lie from the record's; None where the record has no spread."""
    if len(record) < 2 or repeated < 1:
        return None
    t = student_bound(_SHARE, len(record) - 1.0)
    return t * statistics.stdev(record) * math.sqrt(1.0 / len(record) + 1.0 / repeated)


def _outcome(old: Sequence[float], new: Sequence[float], bound: float | None) -> Outcome:
    if not old or not new or bound is None:
        return "cannot tell"
    apart = abs(statistics.fmean(new) - statistics.fmean(old))
    return "within noise" if apart <= bound else "outside noise"


def as_json(reproduction: Reproduction) -> str:
    """Everything, for programs."""
    return json.dumps({**asdict(reproduction), "succeeded": reproduction.succeeded}, indent=1, sort_keys=True) + "\n"


def as_markdown(reproduction: Reproduction) -> str:
    """A report that can be posted."""
    head = "Reproduced" if reproduction.succeeded else "Not reproduced"
    lines = [f"# {head}: {reproduction.record}", "", "| quantity | recorded | found | may differ by | outcome |"]
    lines.append("| --- | --: | --: | --: | --- |")
    for row in reproduction.agreements:
        cells = (_number(row.recorded), _number(row.found), _number(row.bound))
        lines.append(f"| {row.what} | {' | '.join(cells)} | {row.outcome} |")
    lines += ["", "Means over seeds. " + _TEST, "", "| seed | | bits per byte | artifact bytes | steps | training s |"]
    lines[-1] += " evaluation s | by the clock outside |"
    lines.append("| --: | --- | --: | --: | --: | --: | --: | --: |")
    for each in reproduction.seeds:
        for name, numbers in (("recorded", each.recorded), ("found", each.found)):
            if numbers is None:
                lines.append(f"| {each.seed} | {name} | did not run: see {each.log} | | | | | |")
                continue
            values = (numbers.bpb, numbers.artifact_bytes, numbers.steps, numbers.train_s, numbers.eval_s)
            outside = f"{each.watched['seconds']:.1f} s" if name == "found" else ""
            lines.append(f"| {each.seed} | {name} | {' | '.join(map(_number, values))} | {outside} |")
        if each.is_identical:
            lines.append(f"| {each.seed} | | the artifact is the recorded one, byte for byte | | | | | |")
    lines += ["", *_machine(reproduction)]
    return "\n".join(lines) + "\n"


_TEST = (
    "Score and size agree if the means differ by at most t s sqrt(1/n + 1/m): s over the record's n seeds, m repeated"
    " ones, t the 97.5 % point of Student's distribution of n - 1 degrees. Times are the machine's and are not tested."
)


def _machine(reproduction: Reproduction) -> list[str]:
    place = reproduction.environment
    cards = place["gpu"]["cards"]
    cores = f"{place['cpu']['usable']} cores, {place['cpu']['model']}"
    device = f"{len(cards)} x {cards[0]['name']}" if cards else cores
    torch = (place["packages"].get("torch") or {}).get("version")
    told = [each.watched["isolation"] for each in reproduction.seeds]
    walls = {str(each["mechanism"] or each["state"]) for each in told}
    lines = [f"Run on {device}; Python {place['python']}, torch {torch}; isolation: {', '.join(sorted(walls))}."]
    if reproduction.differences:
        lines += ["", "Differences from the record's environment:", ""]
        lines += [f"- {line}" for line in reproduction.differences]
    return lines


def _number(value: float | int | None) -> str:
    if value is None:
        return ""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.5f}"
