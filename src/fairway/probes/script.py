"""A stranger's script on made-up data, run several times inside walls, and what its losses show.

The script is not edited. It runs four times in processes of their own, twice on the same data and once for each of two
changes to the validation stream (one late token; the rest of a document), told of them by the variables that
the published scripts heed. ``torch.compile`` is switched off, so that calls can be seen, and where there is no card a
CPU stands in for it. Where no validation loss can be captured the verdict is UNVERIFIABLE, and why: that is no
accusation.
"""

import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fairway.errors import FairwayError
from fairway.machine.limits import Limits
from fairway.machine.watch import Task, Watched, watch
from fairway.probes import capture, stand_in, trail
from fairway.probes.result import Probe
from fairway.probes.script_data import MadeUp, make_up, write_dataset
from fairway.probes.script_findings import Run, verdicts
from fairway.probes.script_passes import Captured, Pass, final_pass, passes_of, read_capture
from fairway.runtime.files import sha256_file, write_text_atomic

FORMAT = "fairway-probe-script/1"
REPORT = "probe-script.json"
"""File that takes the report."""
Outcome = Literal["PASSED", "FAILED", "UNVERIFIABLE"]
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    " from fairway.probes.capture import run_jobs;"
    " del sys.path[0]; [sys.modules.pop(name) for name in [*sys.modules] if name.partition('.')[0] == 'fairway'];"
    " import pathlib; run_jobs(pathlib.Path(sys.argv[2]))"
)
_NO_CARD = re.compile(r"cuda|nvidia|flash_attn|triton|nccl|gpu", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How the script is called, and on how much data."""

    vocab_size: int = 1024
    val_tokens: int = 6144
    train_tokens: int = 65536
    context: int = 256
    """Length of a row, in training and in evaluation."""
    steps: int = 8
    seed: int = 42
    variables: Mapping[str, str] = field(default_factory=dict)
    """On top of those of ``variables_of``, or in their place; an empty value takes one away."""
    reads: Sequence[Path] = ()
    """What else the script may read."""
    seconds: float = 900.0
    memory_bytes: int = 16 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptReport:
    """Everything that was found out about one script."""

    script: str
    script_sha256: str
    verdict: Outcome
    because: str
    probes: Sequence[Probe]
    """Empty where nothing could be verified."""
    passes: Sequence[Mapping[str, Any]]
    """Evaluations of the first run: targets covered, losses summed, the line that was printed after it."""
    runs: Sequence[Mapping[str, Any]]
    data: Mapping[str, Any]
    isolation: Mapping[str, Any]
    device: str
    """Where it ran: a card, or a CPU that stood in for one (``stand_in``)."""
    seconds: float

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Name, verdict and sentence of each probe, for a table; the whole's last."""
        told = [(probe.name, probe.verdict, probe.because) for probe in self.probes]
        return [*told, ("script", self.verdict, self.because)]

    def as_json(self) -> str:
        """The report for programs."""
        told = {"format": FORMAT, **asdict(self)}
        return json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False, default=str) + "\n"


def probe_script(script: Path, output: Path, setting: Setting | None = None) -> ScriptReport:
    """Run a script inside walls and judge what was captured; report and what it printed are written to ``output``.

    ``FairwayError`` if there is no such script or the data cannot be made.
    """
    told = Setting() if setting is None else setting
    if not script.is_file():
        raise FairwayError(f"{script}: no such script")
    began = time.monotonic()
    made = make_up(told.vocab_size, told.val_tokens, told.train_tokens)
    jobs, seen = [], []
    for name in ("base", "again", *made.flips):
        jobs.append(prepare(script, output / name, name, made, told))
        seen.append(run_jobs(jobs[-1:], output / name, told))
        if _why_failed(jobs[-1], seen[-1]):
            break  # the next would fail in the same way
    report = judge(script, jobs, seen, made, told, time.monotonic() - began)
    write_text_atomic(output / REPORT, report.as_json())
    return report


def prepare(script: Path, folder: Path, name: str, made: MadeUp, setting: Setting) -> dict[str, Any]:
    """Lay out one run in a folder: its data, a copy of the script to run in, and what it is told."""
    if folder.exists():
        shutil.rmtree(folder)
    work, data = folder / "work", folder / "data"
    work.mkdir(parents=True)
    stream = "base" if name == "again" else name
    places = write_dataset(made, stream, data)
    np.save(folder / "tokens.npy", made.streams[stream])
    shutil.copyfile(script, work / script.name)
    return {
        "name": name,
        "stream": stream,
        "script": str((work / script.name).absolute()),
        "folder": str(work.absolute()),
        "data": str(data.absolute()),
        "tokens": str((folder / "tokens.npy").absolute()),
        "output": str((work / "capture.npz").absolute()),
        "vocab_size": made.vocab_size,
        "variables": variables_of(places, setting),
    }


def variables_of(places: Mapping[str, str], setting: Setting) -> dict[str, str]:
    """What the published scripts heed: data, sizes of rows and batches, a few steps, a clock that never strikes.

    Rates that fall with the seconds that are left would differ from run to run, so there are more than enough.
    """
    row = setting.context
    told = {
        **places,
        "VOCAB_SIZE": setting.vocab_size,
        "SEED": setting.seed,
        "RUN_ID": "probe",
        "ITERATIONS": setting.steps,
        "WARMUP_STEPS": 0,
        "WARMDOWN_ITERS": setting.steps,
        "MAX_WALLCLOCK_SECONDS": 86400,
        "VAL_LOSS_EVERY": 0,
        "TRAIN_LOG_EVERY": 1,
        "TRAIN_SEQ_LEN": row,
        "EVAL_SEQ_LEN": row,
        "EVAL_STRIDE": max(1, row // 4),
        "TRAIN_BATCH_TOKENS": 8 * row,
        "VAL_BATCH_SIZE": 8 * row,
        "VAL_BATCH_TOKENS": 8 * row,
    }
    found = {**{name: str(value) for name, value in told.items()}, **setting.variables}
    return {name: value for name, value in found.items() if value}


def run_jobs(jobs: Sequence[Mapping[str, Any]], folder: Path, setting: Setting) -> Watched:
    """Run jobs one after the other, inside walls where there are any."""
    listed = folder / "jobs.json"
    write_text_atomic(listed, json.dumps(list(jobs)))
    package = Path(capture.__file__).parents[1]
    code = [package / "__init__.py", Path(capture.__file__).with_name("__init__.py")]
    code += [Path(str(module.__file__)) for module in (capture, stand_in, trail)]
    inputs = [Path(job[key]) for job in jobs for key in ("data", "tokens")]
    room = Path(os.path.commonpath([job["folder"] for job in jobs]))
    task = Task(
        command=[sys.executable, "-P", "-c", _START, str(package.parent), str(listed.absolute())],
        reads=[*code, listed, *inputs, *setting.reads],
        room=room,
        log=folder / "run.log",
        variables={"TORCHDYNAMO_DISABLE": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONHASHSEED": "0"},
        limits=Limits(seconds=setting.seconds, memory_bytes=setting.memory_bytes, processes=256, disk_bytes=8 << 30),
        walls=True,
    )
    return watch(task, folder=room)


def judge(
    script: Path,
    jobs: Sequence[Mapping[str, Any]],
    seen: Sequence[Watched],
    made: MadeUp,
    setting: Setting,
    seconds: float,
) -> ScriptReport:
    """What the runs that took place show; ``seen`` has one entry a job, or one for all."""
    watched = [seen[min(number, len(seen) - 1)] for number in range(len(jobs))]
    runs: dict[str, Run] = {}
    passes: list[Pass] = []
    why, device = "", "cpu"
    for job, each in zip(jobs, watched, strict=True):
        why = why or _why_failed(job, each)
        if why:
            break
        held = read_capture(Path(job["output"]), made.streams[job["stream"]], made.vocab_size)
        device = "cuda" if held.told["has_card"] else "cpu"
        found = passes_of(held)
        passes = passes or found
        score = final_pass(found)
        if score is None:
            why = _why_unseen(held)
            break
        runs[job["name"]] = Run(held, score)
    probes: Sequence[Probe] = ()
    if not why:
        flipped = {name: runs[name] for name in made.flips}
        probes = verdicts(runs["base"], runs["again"], flipped, made.flips, setting.context)
    verdict, because = _outcome(probes, why)
    return ScriptReport(
        script=script.name,
        script_sha256=sha256_file(script),
        verdict=verdict,
        because=because,
        probes=probes,
        passes=[_told(each) for each in passes],
        runs=[_ran(job, each) for job, each in zip(jobs, watched, strict=True)],
        data={
            "vocab_size": made.vocab_size,
            "documents": made.documents,
            "targets": len(made.streams["base"]) - 1,
            "tokens_sha256": hashlib.sha256(made.streams["base"].astype("<u2").tobytes()).hexdigest(),
            "flips": {name: asdict(flip) for name, flip in made.flips.items()},
        },
        isolation=watched[0].isolation,
        device=device,
        seconds=round(seconds, 2),
    )


def _outcome(probes: Sequence[Probe], why: str) -> tuple[Outcome, str]:
    if why:
        return "UNVERIFIABLE", why
    noise = next(probe for probe in probes if probe.name == "a-a")
    failed = [probe for probe in probes if probe.verdict == "failed"]
    if noise in failed:
        return "UNVERIFIABLE", f"{noise.because}, so nothing can be told from a change"
    if failed:
        return "FAILED", "; ".join(f"{probe.name}: {probe.because}" for probe in failed)
    return "PASSED", f"{sum(probe.verdict == 'passed' for probe in probes)} of {len(probes)} probes passed, none failed"


def _why_failed(job: Mapping[str, Any], seen: Watched) -> str:
    """Why a run left nothing to judge; empty if it did."""
    if seen.ended_by != "itself":
        return f"run {job['name']} was ended by the limit on {seen.ended_by} after {seen.seconds:.0f} s"
    path, errors = Path(job["output"]), Path(job["folder"], "stderr.txt")
    lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines() if errors.is_file() else []
    last = " / ".join(" ".join(line.split()) for line in lines[-2:])[:400] or "nothing on standard error"
    if not path.is_file():
        return f"run {job['name']} left no capture: the process was ended from within or killed; last words: {last}"
    with np.load(path, allow_pickle=False) as file:
        told = json.loads(file["told"].tobytes())
    if told["status"]:
        what = "needs what this machine lacks" if _NO_CARD.search(told["why"] or last) else "crashed"
        return f"run {job['name']} {what} (status {told['status']}): {told['why'] or last}"
    if told["is_full"]:
        return f"run {job['name']} computed more validation losses than can be kept"
    return ""


def _why_unseen(held: Captured) -> str:
    others = held.told["others"]
    if held.calls:
        lost = ", ".join(held.told["lost"]) or "outside torch"
        return (
            f"{held.calls} calls on validation targets were seen, but not what became of their losses: lost in {lost}"
        )
    seen = f"{others} calls on other targets were" if others else "no call of cross_entropy, nll_loss or gather was"
    return f"no loss on validation targets was captured ({seen} seen): a fused or compiled loss, or none was computed"


def _told(each: Pass) -> dict[str, Any]:
    return {"covered": each.covered, "losses": len(each.ids), "numbers": len(each.events), "lines": list(each.lines)}


def _ran(job: Mapping[str, Any], seen: Watched) -> dict[str, Any]:
    return {
        "name": job["name"],
        "seconds": round(seen.seconds, 2),
        "exit_status": seen.status,
        "ended_by": seen.ended_by,
        "printed": str(Path(job["folder"], "stdout.txt")),
    }


__all__ = ["Captured", "Run", "ScriptReport", "Setting", "judge", "prepare", "probe_script", "run_jobs"]
